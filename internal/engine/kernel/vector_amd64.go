package kernel

// The vector functions of the assembly. Slices of one call have equal lengths,
// as in the references; any length, zero included.

//go:noescape
func dot512(a, b []float32) float32

//go:noescape
func axpy512(y, x []float32, a float32)

//go:noescape
func add512(y, x []float32)

//go:noescape
func scale512(x []float32, a float32)

//go:noescape
func sumSquares512(x []float32) float64

//go:noescape
func dot3x512(a, b, c []float32) float64

//go:noescape
func normApply512(y, x, w []float32, inv float32)

//go:noescape
func normBack512(dx, dy, x, w []float32, inv, c float32)

//go:noescape
func rotate512(lo, hi, cos, sin []float32)

//go:noescape
func rotateBack512(lo, hi, cos, sin []float32)

//go:noescape
func max512(x []float32) float32

//go:noescape
func expSub512(y, x []float32, c float32) float64

//go:noescape
func softmaxBack512(p, dp []float32, lse, d float32)

//go:noescape
func siluMul512(out, gate, up []float32)

//go:noescape
func siluMulBack512(dgate, dup, dout, gate, up []float32)

//go:noescape
func dot256(a, b []float32) float32

//go:noescape
func axpy256(y, x []float32, a float32)

//go:noescape
func add256(y, x []float32)

//go:noescape
func scale256(x []float32, a float32)

//go:noescape
func sumSquares256(x []float32) float64

//go:noescape
func dot3x256(a, b, c []float32) float64

//go:noescape
func normApply256(y, x, w []float32, inv float32)

//go:noescape
func normBack256(dx, dy, x, w []float32, inv, c float32)

//go:noescape
func rotate256(lo, hi, cos, sin []float32)

//go:noescape
func rotateBack256(lo, hi, cos, sin []float32)

//go:noescape
func max256(x []float32) float32

//go:noescape
func expSub256(y, x []float32, c float32) float64

//go:noescape
func softmaxBack256(p, dp []float32, lse, d float32)

//go:noescape
func siluMul256(out, gate, up []float32)

//go:noescape
func siluMulBack256(dgate, dup, dout, gate, up []float32)
