package model

import (
	"testing"

	"github.com/firekeep/firekeep/internal/engine"
)

// TestAddend: a merged value is one chain of float64 over the ranks, rounded once,
// whatever the rank; what is not adapted has no addend.
func TestAddend(t *testing.T) {
	cfg := tinyConfig()
	for _, rank := range []int{1, 3, 4, 6, 9} {
		a := randomAdapter(t, &cfg, rank, []string{"v_proj", "down_proj"}, 3)
		for _, name := range []string{"embed", "head", "norm", "layers.0.q_proj", "layers.0.attn_norm", "layers.99.v_proj", "layers.x.v_proj", "layers.0", "v_proj"} {
			if a.Addend(name) != nil {
				t.Errorf("%s has an addend", name)
			}
		}
		for target, name := range map[int]string{targetV: "layers.1.v_proj", targetDown: "layers.1.down_proj"} {
			out, in := cfg.Linear(engine.Targets[target])
			A, B, add := a.Layers[1].A[target], a.Layers[1].B[target], a.Addend(name)
			row := make([]float32, in)
			for i := range out {
				for k := range row {
					row[k] = float32(i-k) / 16
				}
				add(row, i)
				for k, got := range row {
					sum := float64(float32(i-k) / 16)
					for r := range rank {
						sum += float64(a.Alpha / float64(rank) * float64(B[i*rank+r]) * float64(A[r*in+k]))
					}
					if got != float32(sum) {
						t.Fatalf("rank %d, %s [%d %d]: %g, want %g", rank, name, i, k, got, float32(sum))
					}
				}
			}
		}
	}
}
