package train

import (
	"bytes"
	"testing"

	"github.com/firekeep/firekeep/internal/engine"
	"github.com/firekeep/firekeep/internal/engine/kernel"
)

// FuzzReadOptimizer: a state is accepted only if it survives being written.
func FuzzReadOptimizer(f *testing.F) {
	spec := smallSpec("GRPO")
	spec.LoraRank, spec.LoraTargets = 1, []string{"k_proj"}
	base := randomModel()
	fresh := func() *Trainer {
		t, err := New(kernel.NewPool(1), base, spec, Options{})
		if err != nil {
			f.Fatal(err)
		}
		return t
	}
	var good bytes.Buffer
	if err := fresh().WriteOptimizer(&good); err != nil {
		f.Fatal(err)
	}
	f.Add(good.Bytes())
	f.Add(good.Bytes()[:good.Len()/2])
	f.Add(bytes.Replace(good.Bytes(), []byte("I64"), []byte("U64"), 1))
	trainer := fresh()
	f.Fuzz(func(t *testing.T, b []byte) {
		err := trainer.readOptimizer(b)
		if err != nil {
			if _, ok := err.(*engine.Problem); !ok {
				t.Fatalf("not a Problem: %v", err)
			}
			return
		}
		var again bytes.Buffer
		if err := trainer.WriteOptimizer(&again); err != nil {
			t.Fatal(err)
		}
		if err := fresh().readOptimizer(again.Bytes()); err != nil {
			t.Fatal(err)
		}
	})
}
