package runner

import (
	"crypto/sha256"
	"encoding/binary"
	"slices"

	"github.com/firekeep/firekeep/internal/catalog"
	"github.com/firekeep/firekeep/internal/engine"
)

// The training order of a dataset. It is a function of the index, the seed and
// the epoch alone, so that every engine sees the same groups in the same order
// and a resumed job goes on exactly where its resume point stood:
//
//  1. The index' chunks (about 8 MiB of neighbouring groups) are permuted.
//  2. windowChunks neighbours of that permutation make a window; the groups of a
//     window, listed in chunk order, are permuted.
//
// A permutation is Fisher-Yates from the end: for i = n-1 down to 1, swap i with
// uniform(i+1). uniform(n) draws 64-bit numbers of a SplitMix64 generator until
// one lies below the largest multiple of n, and takes the remainder. The
// generator's state begins as the first eight bytes, little endian, of
//
//	SHA-256("firekeep order 1" | seed | epoch | window+1, or 0 for the chunks)
//
// with the three numbers as 8 bytes little endian each.

// windowChunks bounds the groups in memory: a window is about 32 MiB.
const windowChunks = 4

// order yields positions of training; a position counts groups from 0 over all
// epochs.
type order struct {
	index  *catalog.Index
	seed   int64
	epochs int
}

// splitMix draws from engine.SplitMix64.
type splitMix uint64

func (s *splitMix) next() uint64 { return engine.SplitMix64((*uint64)(s)) }

// uniform draws from [0, n) without bias.
func (s *splitMix) uniform(n uint64) uint64 {
	limit := -n % n // 2^64 mod n: what is drawn below it would be too likely
	for {
		if v := s.next(); v >= limit {
			return v % n
		}
	}
}

func generator(seed int64, epoch int, part uint64) *splitMix {
	b := []byte("firekeep order 1")
	b = binary.LittleEndian.AppendUint64(b, uint64(seed))
	b = binary.LittleEndian.AppendUint64(b, uint64(epoch))
	b = binary.LittleEndian.AppendUint64(b, part)
	sum := sha256.Sum256(b)
	g := splitMix(binary.LittleEndian.Uint64(sum[:]))
	return &g
}

// permute shuffles v in place.
func permute[T any](v []T, g *splitMix) {
	for i := len(v) - 1; i > 0; i-- {
		j := g.uniform(uint64(i) + 1)
		v[i], v[j] = v[j], v[i]
	}
}

// windows returns the chunks of an epoch in their order, cut into windows.
func (o order) windows(epoch int) [][]int {
	chunks := make([]int, len(o.index.Chunks))
	for i := range chunks {
		chunks[i] = i
	}
	permute(chunks, generator(o.seed, epoch, 0))
	return slices.Collect(slices.Chunk(chunks, windowChunks))
}

// groupOf names a group of a window: which of its chunks, which range.
type groupOf struct {
	chunk int // index into the window
	catalog.GroupRange
}

// groups returns the groups of a window in training order.
func (o order) groups(epoch, window int, chunks []int) []groupOf {
	var all []groupOf
	for i, c := range chunks {
		for _, r := range o.index.Chunks[c].Ranges() {
			all = append(all, groupOf{i, r})
		}
	}
	permute(all, generator(o.seed, epoch, uint64(window)+1))
	return all
}

// cursor is a place in the order.
type cursor struct {
	epoch, window int
	skip          int64 // groups of the window that are behind us
	position      int64
}

// seek finds the place of a position. A position at the end of an epoch is the
// beginning of the next, whose EpochEnd has not been sent.
func (o order) seek(position int64) cursor {
	if o.index.Groups == 0 {
		return cursor{epoch: o.epochs}
	}
	c := cursor{epoch: int(position / o.index.Groups), position: position}
	left := position % o.index.Groups
	if c.epoch >= o.epochs {
		return c
	}
	for w, chunks := range o.windows(c.epoch) {
		var n int64
		for _, k := range chunks {
			n += o.index.Chunks[k].Groups
		}
		if left < n {
			c.window, c.skip = w, left
			return c
		}
		left -= n
	}
	return c
}
