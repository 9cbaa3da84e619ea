package kernel

import (
	"math"
	"math/rand/v2"
	"testing"
)

// gelu64 is the definition, with tanh, in float64, and its derivative.
func gelu64(g float64) (value, slope float64) {
	c := math.Sqrt(2 / math.Pi)
	t := math.Tanh(c * (g + 0.044715*g*g*g))
	return g / 2 * (1 + t), (1+t)/2 + g/2*(1-t*t)*c*(1+3*0.044715*g*g)
}

func TestGELU(t *testing.T) {
	best := Active()
	defer Use(best)
	r := rand.New(rand.NewPCG(3, 3))
	for _, l := range Detect() {
		Use(l)
		for _, n := range []int{1, 7, 255, 256, 257, 1000} {
			gate, up, dout := make([]float32, n), make([]float32, n), make([]float32, n)
			for i := range gate {
				gate[i], up[i], dout[i] = float32(r.NormFloat64()*4), float32(r.NormFloat64()), float32(r.NormFloat64())
			}
			copy(gate, []float32{0, -0.01, 1e30, -1e30, 12, -12, 5})
			out, dgate, dup := make([]float32, n), make([]float32, n), make([]float32, n)
			GELUMul(out, gate, up)
			GELUMulBackward(dgate, dup, dout, gate, up)
			for i, g := range gate {
				value, slope := gelu64(float64(g))
				if math.Abs(float64(g)) > 1e20 { // where the definition's own product is 0 * Inf
					value, slope = max(float64(g), 0), float64(0)
					if g > 0 {
						slope = 1
					}
				}
				near := func(what string, got float32, want float64) {
					if math.Abs(float64(got)-want) > 1e-5*math.Abs(want)+2e-6 {
						t.Errorf("%v: %s(%g) is %g instead of %g", l, what, g, got, want)
					}
				}
				near("value", out[i], value*float64(up[i]))
				near("dup", dup[i], value*float64(dout[i]))
				near("dgate", dgate[i], slope*float64(dout[i])*float64(up[i]))
			}
			// In place, and cut where panels divide the work: the same bits.
			again := append([]float32(nil), gate...)
			for cut := 0; cut < n; cut += 3 * Panel {
				end := min(n, cut+3*Panel)
				GELUMul(again[cut:end], again[cut:end], up[cut:end])
			}
			for i := range out {
				if math.Float32bits(again[i]) != math.Float32bits(out[i]) {
					t.Fatalf("%v: in place, value %d differs", l, i)
				}
			}
		}
	}
}
