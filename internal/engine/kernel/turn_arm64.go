package kernel

//go:noescape
func turn4(dst, src *float32, lds, blocks int, alpha float32)

//go:noescape
func copy4(dst, src *float32, ldd, lds, rows int, alpha float32)

// turnNEON is turnGo in blocks of 4x4, the rest by turnGo.
func turnNEON(dst, src []float32, lds, rows, cols int, alpha float32) {
	rows4, cols4 := rows&^3, cols&^3
	if cols4 > 0 {
		for j := 0; j < rows4; j += 4 {
			turn4(&dst[j], &src[j*lds], lds*4, cols4/4, alpha)
		}
	}
	if cols4 < cols && rows4 > 0 {
		turnGo(dst[cols4*Panel:], src[cols4:], lds, rows4, cols-cols4, alpha)
	}
	if rows4 < rows {
		turnGo(dst[rows4:], src[rows4*lds:], lds, rows-rows4, cols, alpha)
	}
}

// gatherNEON is gatherGo, fast where a row is a whole panel.
func gatherNEON(dst, src []float32, lds, rows, cols int, alpha float32) {
	if cols < Panel {
		gatherGo(dst, src, lds, rows, cols, alpha)
		return
	}
	copy4(&dst[0], &src[0], Panel*4, lds*4, rows, alpha)
}
