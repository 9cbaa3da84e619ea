package tensorfile

import (
	"bytes"
	"context"
	"slices"
	"testing"

	"github.com/firekeep/firekeep/internal/engine"
	"github.com/firekeep/firekeep/internal/engine/kernel"
)

// TestPreparedInBothPrecisions: with BFloat16 a file holds, beside the bytes it
// would hold anyway, every matrix that passes multiply with, rounded.
func TestPreparedInBothPrecisions(t *testing.T) {
	write := func(o Options) []byte {
		var src Source
		for name, b := range tinyModel() {
			if err := src.Add(context.Background(), name, int64(len(b)), bytes.NewReader(b)); err != nil {
				t.Fatal(err)
			}
		}
		var out bytes.Buffer
		info, err := Prepare(context.Background(), &src, &out, o)
		if err != nil {
			t.Fatal(err)
		}
		if info.Size != int64(out.Len()) {
			t.Errorf("%d bytes are written, %d told", out.Len(), info.Size)
		}
		return out.Bytes()
	}
	b := write(Options{Name: "tiny", BFloat16: true})
	both, err := OpenPrepared(aligned(b))
	if err != nil {
		t.Fatal(err)
	}
	plain, err := OpenPrepared(aligned(write(Options{Name: "tiny"})))
	if err != nil {
		t.Fatal(err)
	}
	if both.Parameters() != plain.Parameters() {
		t.Errorf("%d parameters instead of %d", both.Parameters(), plain.Parameters())
	}
	names := []string{"head"}
	for _, target := range engine.Targets {
		names = append(names, "layers.0."+target)
	}
	for _, name := range names {
		w, err := both.Packed(name)
		if err != nil {
			t.Fatal(err)
		}
		float, err := plain.Packed(name)
		if err != nil || !slices.Equal(w.Data, float.Data) {
			t.Errorf("%s: the float32 values differ, %v", name, err)
		}
		want := make([]uint16, kernel.BF16Len(w.N, w.K))
		kernel.PackBF16(want, w.Data, w.N, w.K)
		if !slices.Equal(both.BF16(name), want) || slices.Max(want) == 0 {
			t.Errorf("%s: the bfloat16 values are not the rounded ones", name)
		}
		if plain.BF16(name) != nil {
			t.Errorf("%s: bfloat16 where none was asked for", name)
		}
	}
	for n := 0; n < len(b); n += 97 {
		if _, err := OpenPrepared(aligned(b[:n])); err == nil {
			t.Fatalf("the first %d of %d bytes opened", n, len(b))
		}
	}
	// One of the rounded matrices is not there.
	if _, err := OpenPrepared(aligned(bytes.Replace(b, []byte(`layers.0.up_proj.bf16`), []byte(`layers.0.up_proj.bf17`), 1))); err == nil {
		t.Error("a file without one of the rounded matrices opened")
	}
}
