package kernel

import (
	"fmt"
	"math"
)

// SelfTestBF16 is the part of SelfTest that is about bfloat16, for a level whose
// float32 has passed. It takes some milliseconds.
func SelfTestBF16(l Level) error {
	t := tableOf(l)
	if t == nil || t.bf16 == nil {
		return fmt.Errorf("kernel level %v does not multiply bfloat16 on this machine", l)
	}
	return selfTestBF16(t)
}

func selfTestBF16(t *table) error {
	if err := t.permit(); err != nil {
		return err
	}
	c := check{t: t, state: 0x9e3779b97f4a7c15}
	c.productsBF16()
	return c.err
}

// shapesBF16 cover every number of rows of a strip, full and partial panels and
// blocks, one and several slabs of panels and stretches of the depth.
var shapesBF16 = [][3]int{
	{1, 1, 1}, {2, 33, 3}, {3, 31, 32}, {4, 32, 64}, {5, 64, 5}, {6, 16, 31}, {7, 15, 40}, {8, 17, 2}, {9, 48, 33},
	{10, 47, 65}, {11, 1, 19}, {12, 65, 21}, {13, 40, 100}, {14, 96, 120}, {1, 300, 610}, {3, 5, 2100}, {15, 8, 66}, {16, 30, 34}, {17, 64, 64},
	{29, 36, 65}, {31, 33, 96}, {32, 32, 32}, {33, 70, 62}, {47, 18, 33}, {65, 5, 130},
}

// shapesDense cover, of what dense products do otherwise than others: one and
// several groups of rows, and depths that a fine product stretches over.
var shapesDense = [][3]int{{1, 1, 1}, {7, 15, 40}, {17, 64, 33}, {33, 34, 40}, {35, 5, 140}, {2, 3, 1100}, {1, 2, 2100}}

// productsBF16 compares rounding, turning and products with the reference.
func (c *check) productsBF16() {
	c.rounding()
	c.turning()
	c.rowsByCodes()
	c.arranging()
	for _, s := range shapesBF16 {
		for _, acc := range []bool{false, true} {
			for _, transposed := range []bool{false, true} {
				c.productBF16(s[0], s[1], s[2], transposed, acc)
			}
		}
	}
	for _, s := range shapesDense {
		for _, kind := range denseKinds {
			c.denseBF16(s[0], s[1], s[2], kind, false)
			c.denseBF16(s[0], s[1], s[2], kind, true)
		}
	}
}

// extremesBF16 are float32 values that round in a way of their own: ties to even
// both ways, what overflows, what lies below the normal range, NaN.
var extremesBF16 = []uint32{0, 0x80000000, 0x3f808000, 0x3f818000, 0x3f808001, 0x3f807fff, 0x7f7fffff, 0xff7f8000, 0x7f7f7fff, 1, 0x807fffff,
	0x00800000, 0x7f800000, 0xff800000, 0x7fc00000, 0x7f800001, 0xffa5a5a5}

func (c *check) rounding() {
	for _, n := range []int{1, 2, 15, 16, 17, 31, 32, 33, 64, 95, 100, 577} {
		x := c.filled(n)
		for i := 0; i < n; i += 2 {
			x.x[i] = math.Float32frombits(extremesBF16[i/2%len(extremesBF16)])
		}
		got, want := make([]uint16, n+2), make([]uint16, n+2)
		c.t.bf16.round(got[1:n+1], x.x)
		roundBF16Go(want[1:n+1], x.x)
		c.same("rounding", got, want)
		c.storing(x, want[1:n+1])
	}
}

// storing compares what is left of x, and the way back from what is stored of
// it, bit by bit.
func (c *check) storing(x guarded, stored []uint16) {
	want := newGuarded(len(stored))
	widenBF16Go(want.x, stored, nil)
	through, wide := x.clone(), newGuarded(len(stored))
	c.t.bf16.through(through.x)
	c.t.bf16.widen(wide.x, stored, stored)
	for name, got := range map[string]guarded{"rounding in place": through, "widening": wide} {
		for i := range want.all {
			if g, w := math.Float32bits(got.all[i]), math.Float32bits(want.all[i]); g != w && c.err == nil {
				c.err = fmt.Errorf("kernel level %v: %s in bfloat16: value %d is %08x, the reference says %08x", c.t.level, name, i, g, w)
			}
		}
	}
}

// rowsByCodes compares rows that are multiplied with codes, bit by bit.
func (c *check) rowsByCodes() {
	for _, coding := range codings {
		if coding.Block == 0 || c.t.bf16.one == nil {
			continue
		}
		for _, k := range []int{Panel, 3 * Panel} {
			src, x, a := c.codes(coding, k), c.filled(k), make([]uint16, k)
			roundBF16Go(a, x.x)
			got := c.filled(Panel)
			want := got.clone()
			c.t.bf16.one(got.x, a, src, coding, k, k == Panel)
			onePairsGo(want.x, a, src, coding, k, k == Panel)
			c.compare(fmt.Sprintf("a row by codes of kind %d in bfloat16, depth %d", coding.Kind, k), got, want, 0)
		}
	}
}

func (c *check) turning() {
	src, got, want := make([]uint16, blockBF16), make([]uint16, blockBF16+2), make([]uint16, blockBF16+2)
	for i := range src {
		src[i] = uint16(i)
	}
	c.t.bf16.turn(got[1:], src)
	turnBF16Go(want[1:], src)
	c.same("turning", got, want)
}

func (c *check) same(what string, got, want []uint16) {
	for i := range want {
		if c.err == nil && got[i] != want[i] {
			c.err = fmt.Errorf("kernel level %v: %s in bfloat16: value %d is %04x, the reference says %04x", c.t.level, what, i, got[i], want[i])
		}
	}
}

// productBF16 checks one product of one shape.
func (c *check) productBF16(m, n, k int, transposed, acc bool) {
	const gap = 3 // between rows, poisoned
	rows, cols := n, k
	if transposed {
		rows, cols = k, n
	}
	plain, x := c.filled(rows*cols), c.filled((m-1)*(k+gap)+k)
	panels, b := make([]float32, PackedLen(rows, cols)), make([]uint16, BF16Len(rows, cols))
	Pack(panels, plain.x, rows, cols)
	PackBF16(b, panels, rows, cols)
	got := newGuarded((m-1)*(n+gap) + n)
	for i := range m {
		for j := range n {
			got.x[i*(n+gap)+j] = c.value()
		}
	}
	want, streamed := got.clone(), got.clone()
	g := productBF16{u: c.t.bf16, c: got.x, ldc: n + gap, x: x.x, ldx: k + gap, b: b, transposed: transposed, across: blocksOf(cols), m: m, n: n, k: k, acc: acc}
	g.check(len(b))
	g.serial()
	r := g
	r.u, r.c = &goBF16, want.x
	r.serial()
	what := fmt.Sprintf("bfloat16 product of %dx%dx%d, transposed %v, add %v", m, n, k, transposed, acc)
	c.compare(what, got, want, chainTolerance(k+2))
	if g.c, g.stream = streamed.x, !transposed && m <= g.u.rows; g.stream {
		g.serial()
		c.compare("streamed "+what, streamed, got, 0)
	}
}

// serial runs g on the caller.
func (g *productBF16) serial() {
	r := g.takeRows()
	g.roundRows(0, g.m)
	g.run(0, g.m, 0, blocksOf(g.n))
	r.release()
}

// arranging compares, bit by bit, what arranges dense operands with the reference.
func (c *check) arranging() {
	const ld = Panel + 3
	u := c.t.bf16
	x := c.filled(Panel * ld).x
	for i := 0; i < len(x); i += 3 {
		x[i] = math.Float32frombits(extremesBF16[i/3%len(extremesBF16)])
	}
	for n := 1; n <= Panel; n++ {
		depth, end := (n*7)%Panel+1, Panel*ld
		got, want := make([]uint16, blockBF16+2), make([]uint16, blockBF16+2)
		last := (n-1)*ld + depth
		u.packColumns(got[1:], x[end-last:], ld, n, depth, 0.3)
		packColumnsGo(want[1:], x[end-last:], ld, n, depth, 0.3)
		c.same("packing columns", got, want)
		last = (depth-1)*ld + n
		u.packDepth(got[1:], x[end-last:], ld, n, depth, 0.3)
		packDepthGo(want[1:], x[end-last:], ld, n, depth, 0.3)
		c.same("packing the depth", got, want)
		const ldd = Panel + 5
		up, down := make([]uint16, Panel*ldd+1), make([]uint16, Panel*ldd+1)
		u.upright(up[1:], ldd, x[end-last:], ld, n, depth)
		uprightBF16Go(down[1:], ldd, x[end-last:], ld, n, depth)
		c.same("turning a left operand", up[1:1+(n-1)*ldd+Panel], down[1:1+(n-1)*ldd+Panel])
		for i := range Panel {
			c.same("turning a left operand", up[1+i*ldd+Panel:1+(i+1)*ldd], down[1+i*ldd+Panel:1+(i+1)*ldd])
		}
		left, right := newGuarded(n), newGuarded(n)
		u.rest(left.x, x[:n])
		restBF16Go(right.x, x[:n])
		c.compare("what rounding leaves", left, right, 0)
	}
}

// denseKind is a dense product to check.
type denseKind string

const (
	denseNT   denseKind = "NT"
	denseNN   denseKind = "NN"
	denseTN   denseKind = "TN"
	denseFine denseKind = "fine NT"
)

var denseKinds = []denseKind{denseNT, denseNN, denseTN, denseFine}

// denseBF16 checks one dense product of one shape.
func (c *check) denseBF16(m, n, k int, kind denseKind, acc bool) {
	const gap = 3
	g := denseBF16{u: c.t.bf16, ldc: n + gap, rs: k + gap, ks: 1, ldb: k + gap, kind: rowsAreColumns, m: m, n: n, k: k, alpha: 0.3, acc: acc, fine: kind == denseFine}
	rows, cols := m, k
	if kind == denseTN {
		rows, cols, g.rs, g.ks = k, m, 1, m+gap
	}
	g.a = c.filled((rows-1)*(cols+gap) + cols).x
	rows, cols = n, k
	if kind == denseNN || kind == denseTN {
		rows, cols, g.kind, g.ldb = k, n, rowsAreDepth, n+gap
	}
	g.b = c.filled((rows-1)*(cols+gap) + cols).x
	got := newGuarded((m-1)*(n+gap) + n)
	for i := range m {
		for j := range n {
			got.x[i*(n+gap)+j] = c.value()
		}
	}
	want := got.clone()
	g.c = got.x
	g.serial()
	r := g
	r.u, r.c = &goBF16, want.x
	r.serial()
	c.compare(fmt.Sprintf("dense bfloat16 product %s of %dx%dx%d, add %v", kind, m, n, k, acc), got, want, chainTolerance(3*k+2))
}
