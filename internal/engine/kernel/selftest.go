package kernel

import (
	"fmt"
	"math"
)

// SelfTest runs every kernel of a level at odd shapes and offsets between guard
// bands and compares it with the Go reference. An error means the level must
// not be used: the processor, a hypervisor or this program is wrong about it.
// It takes about a tenth of a second. A kernel that faults ends the process, so a
// careful caller runs it in a throw-away child first.
func SelfTest(l Level) error {
	t := tableOf(l)
	if t == nil {
		return fmt.Errorf("kernel level %v cannot run on this machine", l)
	}
	return selfTest(t)
}

func selfTest(t *table) error {
	if err := t.permit(); err != nil {
		return err
	}
	c := check{t: t, state: 0x9e3779b97f4a7c15}
	c.products()
	c.vectors()
	c.extremes()
	c.fewRows()
	c.coded()
	if t.bf16 != nil {
		c.productsBF16()
	}
	return c.err
}

// guard is the number of poisoned values on both sides of every buffer.
const guard = 19

// poison is a signalling pattern that no kernel computes.
var poison = math.Float32frombits(0x7fa5_a5a5)

// check collects the first difference between a table and the reference.
type check struct {
	t     *table
	state uint64
	err   error
	exact bool // tolerances are zero
}

// value returns the next of a reproducible series of values in [-1, 1).
func (c *check) value() float32 {
	c.state ^= c.state << 13
	c.state ^= c.state >> 7
	c.state ^= c.state << 17
	return float32(int32(c.state>>32)) / (1 << 31)
}

// guarded is a buffer between two guard bands.
type guarded struct{ all, x []float32 }

func newGuarded(n int) guarded {
	all := make([]float32, n+2*guard)
	for i := range all {
		all[i] = poison
	}
	return guarded{all, all[guard : guard+n : guard+n]}
}

// filled returns a guarded buffer of n random values.
func (c *check) filled(n int) guarded {
	g := newGuarded(n)
	for i := range g.x {
		g.x[i] = c.value()
	}
	return g
}

func (g guarded) clone() guarded {
	all := append([]float32(nil), g.all...)
	return guarded{all, all[guard : len(all)-guard]}
}

// broken says whether a guard value was overwritten.
func (g guarded) broken() bool {
	want := math.Float32bits(poison)
	for i := range guard {
		if math.Float32bits(g.all[i]) != want || math.Float32bits(g.all[len(g.all)-1-i]) != want {
			return true
		}
	}
	return false
}

// compare records an error where got leaves its bounds or differs from want by
// more than tol (absolute), or where poison between rows was touched.
func (c *check) compare(what string, got, want guarded, tol float64) {
	if c.err != nil {
		return
	}
	if c.exact {
		tol = 0
	}
	if got.broken() {
		c.err = fmt.Errorf("kernel level %v: %s writes outside of its result", c.t.level, what)
		return
	}
	for i, w := range want.x {
		g := got.x[i]
		if math.Float32bits(g) == math.Float32bits(w) || g != g && w != w && math.Float32bits(w) != math.Float32bits(poison) {
			continue
		}
		if d := math.Abs(float64(g) - float64(w)); !(d <= tol) {
			c.err = fmt.Errorf("kernel level %v: %s: element %d differs from the reference by %g, allowed %g", c.t.level, what, i, d, tol)
			return
		}
	}
}

func (c *check) scalar(what string, got, want, tol float64) {
	if c.err == nil && !(math.Abs(got-want) <= tol) && got != want && !(got != got && want != want) {
		c.err = fmt.Errorf("kernel level %v: %s is %g, the reference says %g", c.t.level, what, got, want)
	}
}

// productShapes cover every number of rows of a tile, full and partial panels,
// one and several blocks of the depth, and more than copyPanels panels, from which
// rows of the left operand are copied, with a last strip that is short.
var productShapes = [][3]int{
	{1, 1, 1}, {2, 33, 3}, {3, 31, 17}, {4, 32, 64}, {5, 64, 5}, {6, 16, 31}, {7, 15, 40}, {8, 17, 2},
	{9, 47, 33}, {10, 48, 1}, {11, 1, 19}, {12, 65, 21}, {13, 40, 300}, {14, 96, 577}, {15, 8, 66},
	{29, 36, 65}, {1, 70, 600}, {43, 4, 130}, {15, 130, 33}, {17, 129, 43},
}

func (c *check) products() {
	for _, s := range productShapes {
		for _, acc := range []bool{false, true} {
			for _, kind := range []operand{weights, weightsTransposed, rowsAreColumns, rowsAreDepth} {
				c.product(kind, false, s[0], s[1], s[2], acc)
			}
			c.product(rowsAreDepth, true, s[0], s[1], s[2], acc)
		}
	}
}

// product checks one product of one shape against the reference tile.
func (c *check) product(kind operand, turned bool, m, n, k int, acc bool) {
	const gap = 3 // between rows, poisoned
	g := product{t: c.t, kind: kind, m: m, n: n, k: k, alpha: 1, acc: acc, ldc: n + gap}
	if kind == rowsAreColumns || kind == rowsAreDepth {
		g.alpha = 0.75
		if m%2 == 0 {
			g.alpha = 1
		}
	}
	var a, b guarded
	if turned {
		g.rs, g.ks = 1, m+gap
		a = c.filled((k-1)*g.ks + m)
	} else {
		g.rs, g.ks = k+gap, 1
		a = c.filled((m-1)*g.rs + k)
	}
	switch kind {
	case weights, weightsTransposed:
		rows, cols := n, k
		if kind == weightsTransposed {
			rows, cols = k, n
		}
		plain := c.filled(rows * cols)
		b = newGuarded(PackedLen(rows, cols))
		Pack(b.x, plain.x, rows, cols)
		g.ldb = cols
	case rowsAreColumns:
		g.ldb = k + gap
		b = c.filled((n-1)*g.ldb + k)
	case rowsAreDepth:
		g.ldb = n + gap
		b = c.filled((k-1)*g.ldb + n)
	}
	g.a, g.b = a.x, b.x
	got := newGuarded((m-1)*g.ldc + n)
	for i := range m {
		for j := range n {
			got.x[i*g.ldc+j] = c.value()
		}
	}
	want := got.clone()
	g.c = got.x
	g.serial()
	r := g
	r.t, r.c = &goTable, want.x
	r.serial()
	what := fmt.Sprintf("product %d of %dx%dx%d, add %v", kind, m, n, k, acc)
	c.compare(what, got, want, chainTolerance(k+1))
}

// chainTolerance bounds how far two levels differ for a chain of k products of
// values in [-1, 1).
func chainTolerance(k int) float64 { return 2 * float64(k) * float64(k) * 0x1p-24 }

func (c *check) vectors() {
	for _, n := range []int{1, 2, 3, 7, 8, 9, 15, 16, 17, 31, 32, 33, 63, 64, 65, 100, 127, 576, 579} {
		c.sums(n)
		c.elementwise(n)
		c.fused(n)
	}
}

// sums checks the reductions at length n.
func (c *check) sums(n int) {
	a, b, d := c.filled(n), c.filled(n), c.filled(n)
	chain := float64(n) * float64(n) * 0x1p-24
	c.scalar("Dot", float64(c.t.dot(a.x, b.x)), float64(dotGo(a.x, b.x)), 2*chain)
	c.scalar("SumSquares", c.t.sumSquares(a.x), sumSquaresGo(a.x), float64(n)*1e-14)
	c.scalar("the sum of products", c.t.dot3(a.x, b.x, d.x), dot3Go(a.x, b.x, d.x), float64(n)*1e-7)
	c.scalar("Max", float64(c.t.max(a.x)), float64(maxGo(a.x)), 0)
}

// pair runs a kernel and its reference on copies of the same buffers and
// compares every buffer, so that inputs and guard bands are checked too.
func (c *check) pair(what string, tol float64, got, want func(v []guarded), v ...guarded) {
	other := make([]guarded, len(v))
	for i := range v {
		other[i] = v[i].clone()
	}
	got(v)
	want(other)
	for i := range v {
		c.compare(what, v[i], other[i], tol)
	}
}

// elementwise checks the simple vector functions at length n.
func (c *check) elementwise(n int) {
	const a = 0.37
	x := func() guarded { return c.filled(n) }
	c.pair("Axpy", 1e-6,
		func(v []guarded) { c.t.axpy(v[0].x, v[1].x, a) },
		func(v []guarded) { axpyGo(v[0].x, v[1].x, a) }, x(), x())
	c.pair("Add", 0,
		func(v []guarded) { c.t.add(v[0].x, v[1].x) },
		func(v []guarded) { addGo(v[0].x, v[1].x) }, x(), x())
	c.pair("Scale", 0,
		func(v []guarded) { c.t.scale(v[0].x, a) },
		func(v []guarded) { scaleGo(v[0].x, a) }, x())
	c.pair("Rope", 1e-6,
		func(v []guarded) { c.t.rotate(v[0].x, v[1].x, v[2].x, v[3].x) },
		func(v []guarded) { rotateGo(v[0].x, v[1].x, v[2].x, v[3].x) }, x(), x(), x(), x())
	c.pair("RopeBackward", 1e-6,
		func(v []guarded) { c.t.rotateBack(v[0].x, v[1].x, v[2].x, v[3].x) },
		func(v []guarded) { rotateBackGo(v[0].x, v[1].x, v[2].x, v[3].x) }, x(), x(), x(), x())
}

// fused checks the functions of a layer at length n.
func (c *check) fused(n int) {
	const inv, f = 1.7, 0.21
	x := func() guarded { return c.filled(n) }
	wide := c.filled(n)
	for i := range wide.x {
		wide.x[i] *= 30
	}
	c.pair("RMSNorm", 1e-6,
		func(v []guarded) { c.t.normApply(v[0].x, v[1].x, v[2].x, inv) },
		func(v []guarded) { normApplyGo(v[0].x, v[1].x, v[2].x, inv) }, x(), x(), x())
	c.pair("RMSNormBackward", 2e-6,
		func(v []guarded) { c.t.normBack(v[0].x, v[1].x, v[2].x, v[3].x, inv, f) },
		func(v []guarded) { normBackGo(v[0].x, v[1].x, v[2].x, v[3].x, inv, f) }, x(), x(), x(), x())
	c.pair("SiLUMul", 3e-5,
		func(v []guarded) { c.t.siluMul(v[0].x, v[1].x, v[2].x) },
		func(v []guarded) { siluMulGo(v[0].x, v[1].x, v[2].x) }, x(), wide.clone(), x())
	c.pair("SiLUMulBackward", 3e-5,
		func(v []guarded) { c.t.siluMulBack(v[0].x, v[1].x, v[2].x, v[3].x, v[4].x) },
		func(v []guarded) { siluMulBackGo(v[0].x, v[1].x, v[2].x, v[3].x, v[4].x) }, x(), x(), x(), wide, x())
	c.pair("SoftmaxBackward", 3e-6,
		func(v []guarded) { c.t.softmaxBack(v[0].x, v[1].x, 0.3, inv) },
		func(v []guarded) { goTable.softmaxBack(v[0].x, v[1].x, 0.3, inv) }, x(), x())
	var got, want float64
	c.pair("ExpSub", 1e-6,
		func(v []guarded) { got = c.t.expSub(v[0].x, v[1].x, 0.3) },
		func(v []guarded) { want = expSubGo(v[0].x, v[1].x, 0.3) }, x(), x())
	c.scalar("the sum of ExpSub", got, want, 1e-6*float64(n))
}

// extremes checks infinities, NaN and both ends of the range of exp at every
// place of a vector.
func (c *check) extremes() {
	inf, nan := float32(math.Inf(1)), float32(math.NaN())
	for _, v := range []float32{inf, -inf, nan, 88.5, 88.8, 200, -87, -87.4, -104, -3e38, 3e38} {
		for at := range 37 {
			x := c.filled(37)
			x.x[at] = v
			c.scalar("Max", float64(c.t.max(x.x)), float64(maxGo(x.x)), 0)
			got, want := newGuarded(37), newGuarded(37)
			c.t.expSub(got.x, x.x, 0)
			expSubGo(want.x, x.x, 0)
			tol := 1e-6
			if e := float64(want.x[at]); e > 1 && !math.IsInf(e, 1) {
				tol = e * 3e-7
			}
			c.compare("ExpSub of an extreme value", got, want, tol)
			up := c.filled(37)
			out, ref := newGuarded(37), newGuarded(37)
			c.t.siluMul(out.x, x.x, up.x)
			siluMulGo(ref.x, x.x, up.x)
			tol = 3e-5
			if r := math.Abs(float64(ref.x[at])); r > 30 && r <= math.MaxFloat32 {
				tol = r * 1e-6
			}
			c.compare("SiLUMul of an extreme value", out, ref, tol)
		}
	}
}
