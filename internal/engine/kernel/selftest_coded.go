package kernel

import (
	"fmt"
	"math"
)

// codings are those that a self-test checks, with a depth of several blocks.
var codings = []Coding{
	{Kind: Code4, Block: 32, Zero: 8}, {Kind: Code4, Block: 16}, {Kind: Code8, Block: 32}, {Kind: Code8, Block: 16},
	{Kind: CodeBF16}, {Kind: CodeF16},
}

// coded checks that every code becomes its weight exactly, and no other memory anything.
func (c *check) coded() {
	for _, coding := range codings {
		for _, k := range []int{Panel, 3 * Panel} {
			src := c.codes(coding, k)
			got := newGuarded(k * Panel)
			want := got.clone()
			c.t.expand(got.x, src, coding, k)
			expandGo(want.x, src, coding, k)
			c.compare(fmt.Sprintf("weights of kind %d, blocks of %d", coding.Kind, coding.Block), got, want, 0)
			c.codedRow(coding, k, k == Panel)
			c.codedRow(coding, k+4*Panel, k != Panel)
		}
	}
}

// codedRow checks a row by a panel of codes.
func (c *check) codedRow(coding Coding, k int, acc bool) {
	if c.t.one == nil {
		return
	}
	src, a, got := c.codes(coding, k), c.filled(k), c.filled(Panel)
	if coding.Block == 0 { // of any size: too wide a range for one bound
		for i := range a.x {
			a.x[i] = float32(i%2) / 2
		}
	}
	want := got.clone()
	c.t.one(got.x, a.x, src, coding, k, acc)
	oneGo(want.x, a.x, src, coding, k, acc)
	most := 0.0
	for _, v := range want.x {
		most = max(most, math.Abs(float64(v)))
	}
	c.compare(fmt.Sprintf("a row by weights of kind %d, depth %d, add %v", coding.Kind, k, acc), got, want, (1+most)*chainTolerance(k+1))
}

// codes returns a panel of random codes, among them every code there is.
func (c *check) codes(coding Coding, k int) []float32 {
	dst := make([]float32, coding.CodedLen(1, k))
	for j := range Panel {
		codes, halves := make([]int8, k), make([]uint16, k)
		for i := range codes {
			n := i*Panel + j
			codes[i] = int8(n)
			if coding.Kind == Code4 {
				codes[i] = int8(n%16 - coding.Zero)
			}
			halves[i] = uint16(n*1021) &^ 0x0400 // no exponent is that of infinity
			if coding.Kind == CodeBF16 {
				halves[i] = uint16(n*1021) &^ 0x0080
			}
		}
		if coding.Block == 0 {
			coding.PackHalves(dst, j, halves)
			continue
		}
		steps, leasts := make([]float32, k/coding.Block), make([]float32, k/coding.Block)
		for i := range steps {
			// Eleven bits, as binary16 has.
			steps[i], leasts[i] = float32(int(c.value()*1024))/(1<<16), float32(int(c.value()*1024))/(1<<12)
		}
		coding.PackCodes(dst, j, codes, steps, leasts)
	}
	return dst
}
