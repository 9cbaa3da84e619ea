package kernel

import "fmt"

// fewRows checks the tile of decoding at every number of rows it takes, full
// and partial panels, and in both ways of storing the right operand.
func (c *check) fewRows() {
	for rows := 1; rows <= c.t.rows; rows++ {
		for i, cols := range []int{1, 15, 16, 17, 31, 32} {
			for _, acc := range []bool{false, true} {
				c.fewTile(rows, cols, 1+(rows*7+i*13)%70, Panel+64*(i%2), acc)
				c.few8Tile(rows, cols, 1+(rows*5+i*11)%70, acc)
			}
		}
	}
}

func (c *check) fewTile(rows, cols, k, bs int, acc bool) {
	const gap = 3
	ldc, rs := cols+gap, k+gap
	a, b := c.filled((rows-1)*rs+k), c.filled((k-1)*bs+Panel)
	got := newGuarded((rows-1)*ldc + cols)
	for i := range rows {
		for j := range cols {
			got.x[i*ldc+j] = c.value()
		}
	}
	want := got.clone()
	c.t.few(got.x, ldc, a.x, rs, b.x, bs, k, rows, cols, b.x, 128, acc)
	fewGo(want.x, ldc, a.x, rs, b.x, bs, k, rows, cols, nil, 0, acc)
	c.compare(fmt.Sprintf("a product of %d rows by %d columns, depth %d, add %v", rows, cols, k, acc), got, want, chainTolerance(k+1))
}

// few8Tile checks the tile of int8 weights.
func (c *check) few8Tile(rows, cols, k int, acc bool) {
	const gap = 3
	ldc, rs := cols+gap, k+gap
	a, scale, b := c.filled((rows-1)*rs+k), c.filled(Panel), make([]int8, k*Panel)
	for i := range b {
		b[i] = int8(c.value() * 127)
	}
	got := newGuarded((rows-1)*ldc + cols)
	for i := range rows {
		for j := range cols {
			got.x[i*ldc+j] = c.value()
		}
	}
	want := got.clone()
	c.t.few8(got.x, ldc, a.x, rs, b, k, rows, cols, scale.x, b, Panel, acc)
	few8Go(want.x, ldc, a.x, rs, b, k, rows, cols, scale.x, nil, 0, acc)
	c.compare(fmt.Sprintf("an int8 product of %d rows by %d columns, depth %d, add %v", rows, cols, k, acc), got, want, 127*chainTolerance(k+1))
}
