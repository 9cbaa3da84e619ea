package kernel

// GELU in its tanh approximation, gelu(g) = g/2 (1 + tanh u) with
// u = sqrt(2/pi) (g + 0.044715 g^3), computed as g * sigmoid(2u): nothing
// cancels for negative g, and the exponentials are those of the level.

const (
	geluTwo  = 1.5957691216057308 // 2 sqrt(2/pi)
	geluCube = 0.044715
	geluTop  = 80   // exp of it is finite; beyond it a sigmoid is zero here
	geluLow  = -1e3 // below it gelu is zero and its slope too, whatever g
	geluRun  = 256
)

// GELUMul sets out[i] = gelu(gate[i]) * up[i]. out may be gate or up.
func GELUMul(out, gate, up []float32) {
	var e [geluRun]float32
	for len(gate) > 0 {
		n := min(len(gate), geluRun)
		geluExp(e[:n], gate)
		for i, v := range e[:n] {
			out[i] = float32(max(gate[i], geluLow)/(1+v)) * up[i]
		}
		out, gate, up = out[n:], gate[n:], up[n:]
	}
}

// GELUMulBackward sets the gradients of GELUMul's inputs from that of its
// output: dup = dout * gelu(gate), dgate = dout * up * gelu'(gate), where
// gelu'(g) = s + g s (1-s) 2u', s = sigmoid(2u), u' = sqrt(2/pi) (1 + 3*0.044715 g^2).
// dgate and dup may be any of the inputs, but not each other.
func GELUMulBackward(dgate, dup, dout, gate, up []float32) {
	var e [geluRun]float32
	for len(gate) > 0 {
		n := min(len(gate), geluRun)
		geluExp(e[:n], gate)
		for i, v := range e[:n] {
			g, d, u := max(gate[i], geluLow), dout[i], up[i]
			s := 1 / (1 + v)
			gelu := float32(g * s)
			slope := float32(geluTwo * float32(1+float32(3*geluCube*float32(min(g, -geluLow)*min(g, -geluLow)))))
			// 1-s as v*s keeps its digits where s is close to one.
			dgate[i] = float32(d*u) * float32(s+float32(float32(gelu*float32(v*s))*slope))
			dup[i] = d * gelu
		}
		dgate, dup, dout, gate, up = dgate[n:], dup[n:], dout[n:], gate[n:], up[n:]
	}
}

// geluExp sets e[i] = exp(-2u(g[i])).
func geluExp(e, g []float32) {
	for i := range e {
		x := g[i]
		e[i] = min(-float32(geluTwo*float32(x+float32(geluCube*float32(float32(x*x)*x)))), geluTop)
	}
	ExpSub(e, e, 0)
}
