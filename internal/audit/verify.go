package audit

import (
	"cmp"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"slices"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/firekeep/firekeep/internal/rft"
)

// Kinds of findings.
const (
	FoundSignature = "signature" // a tree head that the pinned key did not sign
	FoundOrigin    = "origin"    // a tree head of another log
	FoundMalformed = "malformed" // a file or an entry that cannot be read
	FoundTruncated = "truncated" // entries that a tree head covers are gone from the end
	FoundMissing   = "missing"   // a file in the middle is gone
	FoundRewritten = "rewritten" // entries that are not those that were signed
	FoundReordered = "reordered" // entries that are not in the order of their numbers
	FoundGap       = "gap"       // a number that no entry has
	FoundDuplicate = "duplicate" // a number that two entries have
	FoundFork      = "fork"      // two signed tree heads that do not belong to one log
	FoundTile      = "tile"      // a stored hash that is not that of its entries
	FoundOutbox    = "outbox"    // the database and the log disagree
)

// Finding is one thing wrong with a log.
type Finding struct {
	Kind    string `json:"kind"`
	Index   int64  `json:"index"` // of the entry; -1 = of no single one
	Message string `json:"message"`
}

// maxFindings ends a verification: what follows the first damage is mostly its echo.
const maxFindings = 20

// Report is the outcome of a verification.
type Report struct {
	Origin string `json:"origin"`
	Size   int64  `json:"size"`
	Root   string `json:"root"`
	First  int64  `json:"first,omitempty"` // index of the first entry that was there to check
	// Hidden is how many entries were known by their hash only.
	Hidden int64 `json:"hidden,omitempty"`
	// Heads is how many other tree heads the log was held against, Unchecked how
	// many lie before the first entry.
	Heads     int       `json:"heads"`
	Unchecked int       `json:"unchecked,omitempty"`
	Findings  []Finding `json:"findings"`
}

// OK reports whether nothing was found.
func (r *Report) OK() bool { return len(r.Findings) == 0 }

func (r *Report) add(kind string, index int64, format string, args ...any) {
	if len(r.Findings) < maxFindings {
		r.Findings = append(r.Findings, Finding{kind, index, fmt.Sprintf(format, args...)})
	}
}

// Source is a log to verify: a directory or a bundle.
type Source interface {
	// Head is the text of the tree head that covers what follows.
	Head() ([]byte, error)
	// walk yields the entries of a log of size entries in order, and says before
	// where it begins.
	walk(ctx context.Context, size int64, begin func(tree) error, yield func(entry) error) error
	// stored checks hashes that lie beside the entries; nil = there are none.
	stored(size int64) *storedTiles
}

// entry is one entry, or its hash alone.
type entry struct {
	leaf []byte // nil = only the hash is known
	hash tlog.Hash
}

// Verify replays a log from its entries and holds it against its own tree head
// and against others that were kept elsewhere. All tree heads must be signed by
// key. The error is for what could not be looked at; what is wrong is in the
// report.
func Verify(ctx context.Context, src Source, key note.Verifier, others ...[]byte) (*Report, error) {
	r := &Report{Origin: key.Name(), Findings: []Finding{}}
	text, err := src.Head()
	switch {
	case errors.Is(err, fs.ErrNotExist):
		r.add(FoundMissing, -1, "the log has no tree head")
		return r, nil
	case err != nil:
		return nil, rft.Wrap(rft.KindUnavailable, err, "the tree head cannot be read")
	}
	head, err := OpenHead(text, key)
	if err != nil {
		r.add(headProblem(err), -1, "%s", headMessage("the log's tree head", err))
		return r, nil
	}
	r.Size, r.Root = head.Size, base64.StdEncoding.EncodeToString(head.Root[:])
	v := &verification{Report: r, head: head}
	v.read(others, key)
	if err := v.replay(ctx, src); err != nil {
		return nil, err
	}
	return r, nil
}

// verification is a verification under way.
type verification struct {
	*Report
	head    Head
	others  []Head // of at most the log's size, the smallest first
	tree    tree
	numbers numbers
	broken  bool // an entry could not be read, nothing behind it was looked at
}

// read opens the other tree heads.
func (v *verification) read(others [][]byte, key note.Verifier) {
	v.Heads = len(others)
	for i, text := range others {
		h, err := OpenHead(text, key)
		switch {
		case err != nil:
			v.add(headProblem(err), -1, "%s", headMessage(fmt.Sprintf("tree head %d of those given", i+1), err))
		case h.Size > v.head.Size:
			v.add(FoundTruncated, v.head.Size, "a tree head of %d entries was signed, the log ends after %d", h.Size, v.head.Size)
		default:
			v.others = append(v.others, h)
		}
	}
	slices.SortStableFunc(v.others, func(a, b Head) int { return cmp.Compare(a.Size, b.Size) })
}

// replay computes the tree anew.
func (v *verification) replay(ctx context.Context, src Source) error {
	stored := src.stored(v.head.Size)
	err := src.walk(ctx, v.head.Size, func(t tree) error {
		v.tree, v.First = t, t.n
		if stored != nil {
			v.tree.complete = stored.complete
		}
		for len(v.others) > 0 && v.others[0].Size < t.n {
			v.others, v.Unchecked = v.others[1:], v.Unchecked+1
		}
		v.hold()
		return nil
	}, v.entry)
	var bad *Finding
	switch {
	case errors.As(err, &bad):
		v.broken = true
		v.add(bad.Kind, bad.Index, "%s", bad.Message)
	case ctx.Err() != nil:
		return rft.Wrap(rft.KindCancelled, err, "the verification was cancelled")
	case err != nil:
		return rft.Wrap(rft.KindUnavailable, err, "the log cannot be read")
	}
	v.conclude(stored)
	return nil
}

// entry takes in the next entry.
func (v *verification) entry(e entry) error {
	index := v.tree.n
	v.tree.add(e.hash)
	if e.leaf == nil {
		v.Hidden++
	} else if event, err := ParseLeaf(e.leaf); err != nil {
		v.add(FoundMalformed, index, "entry %d is not an event in its canonical form", index)
	} else {
		v.numbers.add(index, event.Seq)
	}
	v.hold()
	return nil
}

// hold compares the tree with the other heads of its size.
func (v *verification) hold() {
	for len(v.others) > 0 && v.others[0].Size == v.tree.n {
		if v.others[0].Root != v.tree.root() {
			v.add(FoundFork, v.tree.n-1, "the key signed another history of the first %d entries", v.tree.n)
		}
		v.others = v.others[1:]
	}
}

// conclude judges the whole.
func (v *verification) conclude(stored *storedTiles) {
	matches := !v.broken && v.tree.n == v.head.Size && v.tree.root() == v.head.Root
	whole := !v.broken && v.First == 0 && v.Hidden == 0
	v.numbers.judge(v.Report, whole, v.head.Size)
	if stored != nil {
		stored.finish(v.broken)
		stored.judge(v.Report, matches)
	}
	if !matches && !v.broken {
		v.add(FoundRewritten, -1, "the entries have another root than the one that was signed")
	}
}

// numbers follows the numbers of events.
type numbers struct {
	seen      []uint64
	misplaced []int64 // the first of them
	twice     []int64 // indexes
}

// far is how far ahead of its place a number is still kept account of.
const far = 1 << 20

func (n *numbers) add(index, seq int64) {
	if seq != index+1 && len(n.misplaced) < maxFindings {
		n.misplaced = append(n.misplaced, index)
	}
	if seq > index+far {
		return
	}
	word, bit := (seq-1)/64, uint64(1)<<((seq-1)%64)
	for int64(len(n.seen)) <= word {
		n.seen = append(n.seen, 0)
	}
	if n.seen[word]&bit != 0 && len(n.twice) < maxFindings {
		n.twice = append(n.twice, index)
	}
	n.seen[word] |= bit
}

// judge names what is wrong with the order. Gaps show only where every entry
// could be read.
func (n *numbers) judge(r *Report, whole bool, size int64) {
	for _, index := range n.twice {
		r.add(FoundDuplicate, index, "entry %d has the number of an earlier one", index)
	}
	missing := int64(0)
	if whole && len(n.misplaced) > 0 {
		for seq := int64(1); seq <= size; seq++ {
			if word := (seq - 1) / 64; word >= int64(len(n.seen)) || n.seen[word]&(1<<((seq-1)%64)) == 0 {
				missing = seq
				r.add(FoundGap, seq-1, "no entry has the number %d", seq)
				break
			}
		}
	}
	if len(n.misplaced) > 0 && len(n.twice) == 0 && missing == 0 {
		r.add(FoundReordered, n.misplaced[0], "entry %d is not in the order of its number", n.misplaced[0])
	}
}

// storedTiles holds the hashes that lie beside the entries against those that
// the entries really have.
type storedTiles struct {
	dir   Dir
	size  int64
	level [8]struct {
		index  int64 // of the tile
		hashes []tlog.Hash
	}
	wrong []mismatch
}

// mismatch is a stored hash that differs.
type mismatch struct {
	Finding
	level int
}

// complete takes the hash of a subtree that has become complete.
func (s *storedTiles) complete(level int, index int64, h tlog.Hash) {
	if level%tileHeight != 0 {
		return
	}
	l := &s.level[level/tileHeight]
	l.index, l.hashes = index/tileWidth, append(l.hashes, h)
	if len(l.hashes) == tileWidth {
		s.compare(level / tileHeight)
	}
}

// compare holds one tile against its file.
func (s *storedTiles) compare(level int) {
	l := &s.level[level]
	got, err := s.dir.tile(level, l.index, len(l.hashes))
	switch {
	case err != nil:
		s.note(level, -1, fmt.Sprintf("tile %d of level %d is missing or cannot be read", l.index, level))
	default:
		for i := range got {
			if got[i] != l.hashes[i] {
				at := (l.index*tileWidth + int64(i)) << (level * tileHeight)
				s.note(level, at, fmt.Sprintf("the stored hash of level %d at entry %d is not that of what it covers", level, at))
				if level > 0 {
					break
				}
			}
		}
	}
	l.hashes = l.hashes[:0]
}

func (s *storedTiles) note(level int, index int64, message string) {
	if len(s.wrong) < maxFindings {
		s.wrong = append(s.wrong, mismatch{Finding{FoundTile, index, message}, level})
	}
}

// finish compares the tiles at the right edge.
func (s *storedTiles) finish(broken bool) {
	for level := range s.level {
		if !broken && len(s.level[level].hashes) > 0 {
			s.compare(level)
		}
	}
}

// judge says what differing hashes mean: where the entries are those that were
// signed, the stored hash was changed; otherwise the entry.
func (s *storedTiles) judge(r *Report, matches bool) {
	for _, f := range s.wrong {
		switch {
		case matches || f.Index < 0:
		case f.level > 0:
			continue // the echo of another entry below
		default:
			f.Kind, f.Message = FoundRewritten, fmt.Sprintf("entry %d is not the one whose hash the log keeps", f.Index)
		}
		r.add(f.Kind, f.Index, "%s", f.Message)
	}
}

// Error makes a Finding the error that ends a walk.
func (f *Finding) Error() string { return f.Message }

// stored implements Source.
func (d Dir) stored(size int64) *storedTiles { return &storedTiles{dir: d, size: size} }

// walk implements Source.
func (d Dir) walk(ctx context.Context, size int64, begin func(tree) error, yield func(entry) error) error {
	if err := begin(tree{}); err != nil {
		return err
	}
	last := (size - 1) / tileWidth
	for index := int64(0); index*tileWidth < size; index++ {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		leaves, err := d.bundle(index, width(size, index))
		if err != nil {
			return d.damage(err, index, last)
		}
		for _, leaf := range leaves {
			if err := yield(entry{leaf, leafHash(leaf)}); err != nil {
				return err
			}
		}
	}
	return nil
}

// damage says what a bundle that cannot be read means.
func (d Dir) damage(err error, index, last int64) error {
	at := index * tileWidth
	var path *fs.PathError
	switch {
	case errors.Is(err, fs.ErrNotExist):
		for later := index + 1; later <= last; later++ {
			if _, err := d.bundle(later, 1); err == nil {
				return &Finding{FoundMissing, at, fmt.Sprintf("the file of the entries from %d on is gone", at)}
			}
		}
		return &Finding{FoundTruncated, at, fmt.Sprintf("the entries from %d on are gone", at)}
	case errors.As(err, &path):
		return err
	case index == last:
		return &Finding{FoundTruncated, at, fmt.Sprintf("the file of the last entries, from %d on, is cut short", at)}
	}
	return &Finding{FoundMalformed, at, fmt.Sprintf("the file of the entries from %d on cannot be read as entries", at)}
}
