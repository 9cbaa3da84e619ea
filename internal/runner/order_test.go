package runner

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/firekeep/firekeep/internal/catalog"
	"github.com/firekeep/firekeep/internal/engine"
	"github.com/firekeep/firekeep/internal/rft"
	"github.com/firekeep/firekeep/internal/wire"
)

// memory is a dataset in memory whose groups say what they are.
type memory struct {
	objects []string
	index   *catalog.Index
	reads   int64 // bytes
}

// newMemory makes objects of groups whose sizes are given; group k of the
// dataset is the text "k:" padded. Size 0 is a gap, behind which a chunk begins.
func newMemory(t interface{ Fatal(...any) }, sizes [][]int) *memory {
	m := &memory{}
	w := &catalog.IndexWriter{}
	n := 0
	for _, object := range sizes {
		var b strings.Builder
		line := int64(1)
		for _, size := range object {
			if size == 0 {
				b.WriteByte('\n')
				line++
				continue
			}
			text := fmt.Sprintf("%d:", n)
			n++
			text += strings.Repeat("x", max(0, size-len(text)))
			if err := w.Group(len(m.objects), int64(b.Len()), int64(len(text)), line, 1); err != nil {
				t.Fatal(err)
			}
			b.WriteString(text)
			line++
		}
		m.objects = append(m.objects, b.String())
	}
	for _, o := range m.objects {
		h := newBlockHash()
		io.WriteString(h, o)
		h.whole()
		w.Object(int64(len(o)), h.blocks)
	}
	raw, err := w.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	if m.index, err = catalog.ParseIndex(raw); err != nil {
		t.Fatal(err)
	}
	return m
}

func (m *memory) source() *source {
	names := make([]string, len(m.objects))
	for i := range names {
		names[i] = fmt.Sprintf("object-%d", i)
	}
	return &source{index: m.index, names: names, open: func(_ context.Context, i int, offset, length int64) (io.ReadCloser, error) {
		m.reads += length
		return io.NopCloser(strings.NewReader(m.objects[i][offset : offset+length])), nil
	}}
}

// play returns the groups from a position on, and "|" for ends of epochs.
func (m *memory) play(ctx context.Context, o order, position int64) ([]string, error) {
	var out []string
	at := position
	err := m.source().each(ctx, o, position, func(g wire.Group) error {
		if g.Position != at {
			return fmt.Errorf("position %d, want %d", g.Position, at)
		}
		at++
		k, _, _ := strings.Cut(string(g.Rows), ":")
		out = append(out, k)
		return nil
	}, func(epoch int, last bool) error {
		out = append(out, fmt.Sprintf("|%d%v", epoch, last))
		return nil
	})
	return out, err
}

// TestOrderIsAPermutationAndResumes: each group once per epoch, epochs differ,
// and from any position on comes the same tail.
func TestOrderIsAPermutationAndResumes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		// Gaps make chunks of few groups, so that windows matter.
		sizes := rapid.SliceOfN(rapid.SliceOfN(rapid.SampledFrom([]int{0, 0, 10, 1000, 20_000}), 0, 30), 1, 3).Draw(t, "sizes")
		sizes = append(sizes, []int{10})
		m := newMemory(t, sizes)
		o := order{index: m.index, seed: rapid.Int64().Draw(t, "seed"), epochs: rapid.IntRange(1, 3).Draw(t, "epochs")}
		all, err := m.play(t.Context(), o, 0)
		if err != nil {
			t.Fatal(err)
		}
		n := int(m.index.Groups)
		if len(all) != o.epochs*(n+1) {
			t.Fatalf("%d entries for %d epochs of %d groups", len(all), o.epochs, n)
		}
		var want []string
		for k := range n {
			want = append(want, fmt.Sprint(k))
		}
		slices.Sort(want)
		for e := range o.epochs {
			epoch := slices.Sorted(slices.Values(all[e*(n+1) : e*(n+1)+n]))
			if !slices.Equal(epoch, want) {
				t.Fatalf("epoch %d has %v", e, epoch)
			}
			if end := all[e*(n+1)+n]; end != fmt.Sprintf("|%d%v", e, e == o.epochs-1) {
				t.Fatalf("epoch %d ends with %q", e, end)
			}
		}
		position := rapid.IntRange(1, o.epochs*n).Draw(t, "position")
		tail, err := m.play(t.Context(), o, int64(position))
		if err != nil {
			t.Fatal(err)
		}
		// At an epoch's end the end itself comes again.
		from := position + (position-1)/n
		if !slices.Equal(tail, all[from:]) {
			t.Fatalf("from %d: %v, want %v", position, tail, all[from:])
		}
	})
}

// TestOrderIsFixed: the order of a seed is part of the contract; it may never
// change, or a resumed job would see other groups.
func TestOrderIsFixed(t *testing.T) {
	m := newMemory(t, [][]int{{10, 10, 10, 10, 10, 10, 10, 10, 10, 10}})
	got, err := m.play(t.Context(), order{index: m.index, seed: 42, epochs: 2}, 0)
	if err != nil {
		t.Fatal(err)
	}
	if s := strings.Join(got, " "); s != fixedOrder {
		t.Errorf("order %q", s)
	}
	g := splitMix(0)
	if v := g.next(); v != 0xe220a8397b1dcdaf { // the published first output for state 0
		t.Errorf("SplitMix64 gives %#x", v)
	}
}

// TestOrderShufflesFar: groups of one chunk are spread over a window, and chunks
// over the epoch.
func TestOrderShufflesFar(t *testing.T) {
	m := newMemory(t, [][]int{{10, 0, 10, 0, 10, 0, 10, 0, 10, 0, 10, 0, 10, 0, 10}})
	o := order{index: m.index, seed: 1, epochs: 2}
	one, two := slices.Concat(o.windows(0)...), slices.Concat(o.windows(1)...)
	if slices.Equal(one, two) || slices.IsSorted(one) {
		t.Errorf("epochs %v and %v", one, two)
	}
}

// TestMemoryIsBounded: what is read at once is a window, whatever the dataset's
// size, and reading costs little beyond the rows themselves.
func TestMemoryIsBounded(t *testing.T) {
	var sizes []int
	for range 60 {
		sizes = append(sizes, 1<<20)
	}
	m := newMemory(t, [][]int{sizes})
	o := order{index: m.index, seed: 3, epochs: 1}
	for n, chunks := range o.windows(0) {
		w := m.source().load(t.Context(), 0, n, chunks)
		var size int
		for _, b := range w.bytes {
			size += len(b)
		}
		if w.err != nil || size > windowChunks*(catalog.ChunkBytes+1<<20) {
			t.Errorf("window %d holds %d bytes, %v", n, size, w.err)
		}
	}
	m.reads = 0
	if _, err := m.play(t.Context(), o, 0); err != nil {
		t.Fatal(err)
	}
	if extra := float64(m.reads) / (60 << 20); extra > 1.3 {
		t.Errorf("an epoch reads %.2f times the dataset", extra)
	}
}

// TestEveryByteIsVerified: a flipped byte anywhere in a block that is read fails.
func TestEveryByteIsVerified(t *testing.T) {
	m := newMemory(t, [][]int{{100, 3 << 20, 100}})
	clean := m.objects[0]
	for _, at := range []int{0, 99, 100, 1 << 20, 1<<20 - 1, 2<<20 + 5, len(clean) - 1} {
		b := []byte(clean)
		b[at] ^= 1
		m.objects[0] = string(b)
		if _, err := m.play(t.Context(), order{index: m.index, epochs: 1}, 0); err == nil || !strings.Contains(err.Error(), "object-0") {
			t.Errorf("byte %d: %v", at, err)
		}
	}
	m.objects[0] = clean
	if _, err := m.source().read(t.Context(), 0, 50, 3<<20); err != nil {
		t.Error(err)
	}
}

// TestFeedStopsWithItsReceiver: an error of the receiver comes back as it is and
// nothing is left running.
func TestFeedStopsWithItsReceiver(t *testing.T) {
	m := newMemory(t, [][]int{{10, 0, 10, 0, 10, 0, 10, 0, 10, 0, 10, 0, 10, 0, 10, 0, 10, 0, 10}})
	enough := errors.New("enough")
	err := m.source().each(t.Context(), order{index: m.index, epochs: 2}, 0, func(wire.Group) error { return enough }, func(int, bool) error { return nil })
	if err != enough {
		t.Errorf("%v", err)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	err = m.source().each(ctx, order{index: m.index, epochs: 2}, 0, func(wire.Group) error { cancel(enough); return nil }, func(int, bool) error { return nil })
	if err != enough {
		t.Errorf("after a cancel: %v", err)
	}
}

func TestBlockHash(t *testing.T) {
	text := strings.Repeat("0123456789", catalog.BlockBytes/4)
	h := newBlockHash()
	for rest := text; rest != ""; { // in pieces that straddle blocks
		n := min(len(rest), 700_001)
		io.WriteString(h, rest[:n])
		rest = rest[n:]
	}
	if got, want := h.whole(), fmt.Sprintf("%x", sha256.Sum256([]byte(text))); got != want {
		t.Errorf("whole %s, want %s", got, want)
	}
	if len(h.blocks) != 3 || h.blocks[2] != sha256.Sum256([]byte(text[2*catalog.BlockBytes:])) || h.blocks[0] != sha256.Sum256([]byte(text[:catalog.BlockBytes])) {
		t.Errorf("%d blocks", len(h.blocks))
	}
}

const fixedOrder = "0 7 4 1 2 6 9 8 5 3 |0false 4 6 8 7 1 2 9 3 0 5 |1true"

func TestNameObject(t *testing.T) {
	names := []string{"rows/a.jsonl", "rows/b.jsonl"}
	for object, want := range map[string]string{"object 2": "rows/b.jsonl: line 7: ", "object 3": "object 3: line 7: ", "object 0": "object 0: line 7: ", "other": "other: line 7: "} {
		err := rft.Wrap(rft.KindInvalidArgument, &engine.Problem{Rule: "r", Message: "m", Object: object, Line: 7}, "%s: line 7: m (r)", object)
		got := nameObject(err, names)
		if !strings.HasPrefix(rft.PublicMessage(got), want) || rft.KindOf(got) != rft.KindInvalidArgument {
			t.Errorf("%s: %v", object, got)
		}
	}
	if err := nameObject(nil, names); err != nil {
		t.Error(err)
	}
}
