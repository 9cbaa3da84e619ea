package kernel

// The vector functions of the assembly. Slices of one call have equal lengths,
// as in the references; any length, zero included.

//go:noescape
func dot4(a, b []float32) float32

//go:noescape
func axpy4(y, x []float32, a float32)

//go:noescape
func add4(y, x []float32)

//go:noescape
func scale4(x []float32, a float32)

//go:noescape
func sumSquares4(x []float32) float64

//go:noescape
func dot3x4(a, b, c []float32) float64

//go:noescape
func normApply4(y, x, w []float32, inv float32)

//go:noescape
func normBack4(dx, dy, x, w []float32, inv, c float32)

//go:noescape
func rotate4(lo, hi, cos, sin []float32)

//go:noescape
func rotateBack4(lo, hi, cos, sin []float32)

//go:noescape
func max4(x []float32) float32

//go:noescape
func expSub4(y, x []float32, c float32) float64

//go:noescape
func softmaxBack4(p, dp []float32, lse, d float32)

//go:noescape
func siluMul4(out, gate, up []float32)

//go:noescape
func siluMulBack4(dgate, dup, dout, gate, up []float32)
