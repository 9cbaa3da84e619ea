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
// blocks, one and several stretches of the depth.
var shapesBF16 = [][3]int{
	{1, 1, 1}, {2, 33, 3}, {3, 31, 32}, {4, 32, 64}, {5, 64, 5}, {6, 16, 31}, {7, 15, 40}, {8, 17, 2}, {9, 48, 33},
	{10, 47, 65}, {11, 1, 19}, {12, 65, 21}, {13, 40, 100}, {14, 96, 610}, {15, 8, 66}, {16, 30, 34}, {17, 64, 64},
	{29, 36, 65}, {31, 33, 96}, {32, 32, 32}, {33, 70, 62}, {47, 18, 33}, {65, 5, 130},
}

// productsBF16 compares rounding, turning and products with the reference.
func (c *check) productsBF16() {
	c.rounding()
	c.turning()
	for _, s := range shapesBF16 {
		for _, acc := range []bool{false, true} {
			for _, transposed := range []bool{false, true} {
				c.productBF16(s[0], s[1], s[2], transposed, acc)
			}
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
	want := got.clone()
	g := productBF16{u: c.t.bf16, c: got.x, ldc: n + gap, x: x.x, ldx: k + gap, b: b, transposed: transposed, across: blocksOf(cols), m: m, n: n, k: k, acc: acc}
	g.check(len(b))
	g.serial()
	r := g
	r.u, r.c = &goBF16, want.x
	r.serial()
	c.compare(fmt.Sprintf("bfloat16 product of %dx%dx%d, transposed %v, add %v", m, n, k, transposed, acc), got, want, chainTolerance(k+2))
}

// serial runs g on the caller.
func (g *productBF16) serial() {
	r := g.takeRows()
	g.roundRows(0, g.m)
	g.run(0, g.m, 0, blocksOf(g.n))
	r.release()
}
