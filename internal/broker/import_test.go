package broker_test

import (
	"errors"
	"io"
	"iter"
	"testing"

	"github.com/firekeep/firekeep/internal/broker"
	"github.com/firekeep/firekeep/internal/engine"
	"github.com/firekeep/firekeep/internal/rft"
	"github.com/firekeep/firekeep/internal/wire"
)

// TestImportRefusals: what is wrong with a model, or with where it comes from,
// is said as such.
func TestImportRefusals(t *testing.T) {
	gone := rft.Errorf(rft.KindNotFound, "the object is gone")
	broken := func(name string, size int64, err error) iter.Seq2[broker.File, error] {
		return files(broker.File{Name: name, Size: size, Body: io.MultiReader(io.LimitReader(zeros{}, 1000), failing{err})})
	}
	full := errors.New("no space left")
	for name, c := range map[string]struct {
		files iter.Seq2[broker.File, error]
		out   io.Writer
		kind  rft.Kind
		is    error
	}{
		"garbage":      {files(file("m.gguf", make([]byte, 64))), io.Discard, rft.KindInvalidArgument, nil},
		"nothing":      {files(file("README", []byte("hello"))), io.Discard, rft.KindInvalidArgument, nil},
		"short source": {broken("m.gguf", 2000, io.EOF), io.Discard, rft.KindFailedPrecondition, nil},
		"long source":  {broken("m.gguf", 500, io.EOF), io.Discard, rft.KindFailedPrecondition, nil},
		"lost source":  {broken("m.gguf", 2000, gone), io.Discard, rft.KindNotFound, gone},
		"no source":    {func(yield func(broker.File, error) bool) { yield(broker.File{}, gone) }, io.Discard, rft.KindNotFound, gone},
		"full disk":    {files(file("m.gguf", demoGGUF(t))), failing{full}, rft.KindUnknown, full},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := start(t, broker.Options{Name: "import"}).Import(t.Context(), wire.ImportTask{Name: "m"}, c.files, c.out)
			var p *engine.Problem
			if rft.KindOf(err) != c.kind || c.is != nil && err != c.is || c.kind == rft.KindInvalidArgument && !errors.As(err, &p) {
				t.Errorf("%v: %v", rft.KindOf(err), err)
			}
		})
	}
}

// TestMemoryLimit: a model that needs more than the child may have is refused
// with that reason.
func TestMemoryLimit(t *testing.T) {
	_, err := start(t, broker.Options{Name: "import", MemoryBytes: 64 << 20}).Import(t.Context(), wire.ImportTask{Name: "m"}, files(file("m.gguf", demoGGUF(t))), io.Discard)
	if rft.KindOf(err) != rft.KindResourceExhausted {
		t.Errorf("%v: %v (%v)", rft.KindOf(err), err, cause(err))
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { return len(p), nil }

type failing struct{ err error }

func (f failing) Read([]byte) (int, error)  { return 0, f.err }
func (f failing) Write([]byte) (int, error) { return 0, f.err }
