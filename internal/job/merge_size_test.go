package job

import (
	"testing"

	"github.com/firekeep/firekeep/internal/store"
)

// A base that is stored in few bits becomes float32 where a LoRA changes it.
func TestMergedSize(t *testing.T) {
	for _, c := range []struct{ size, parameters, want int64 }{{4000, 900, 6000}, {900, 1000, 6000}} {
		if got := mergedSize(store.Model{Size: c.size, Parameters: c.parameters}); got != c.want {
			t.Errorf("%d bytes, %d parameters: %d, want %d", c.size, c.parameters, got, c.want)
		}
	}
}
