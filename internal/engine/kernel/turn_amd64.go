package kernel

//go:noescape
func turn512(dst, src *float32, ldd, lds, rows, cols int, alpha float32)

//go:noescape
func copy512(dst, src *float32, ldd, lds, rows int, mask uint32, alpha float32)

//go:noescape
func turn256(dst, src *float32, lds, blocks int, alpha float32)

//go:noescape
func copy256(dst, src *float32, ldd, lds, rows int, alpha float32)

//go:noescape
func stand256(dst, src *float32, lds, blocks, rows int)

//go:noescape
func upright256(dst, src *float32, lds, depth int, mask *int32)

// turnAVX512 is turnGo in blocks of 16x16.
func turnAVX512(dst, src []float32, lds, rows, cols int, alpha float32) {
	for j := 0; j < rows; j += 16 {
		turn512(&dst[j], &src[j*lds], Panel*4, lds*4, min(16, rows-j), cols, alpha)
	}
}

// gatherAVX512 is gatherGo with masked loads.
func gatherAVX512(dst []float32, src []float32, lds, rows, cols int, alpha float32) {
	copy512(&dst[0], &src[0], Panel*4, lds*4, rows, uint32(1<<cols-1), alpha)
}

// turnAVX2 is turnGo in blocks of 8x8, the rest by turnGo.
func turnAVX2(dst, src []float32, lds, rows, cols int, alpha float32) {
	rows8, cols8 := rows&^7, cols&^7
	if cols8 > 0 {
		for j := 0; j < rows8; j += 8 {
			turn256(&dst[j], &src[j*lds], lds*4, cols8/8, alpha)
		}
	}
	if cols8 < cols && rows8 > 0 {
		turnGo(dst[cols8*Panel:], src[cols8:], lds, rows8, cols-cols8, alpha)
	}
	if rows8 < rows {
		turnGo(dst[rows8:], src[rows8*lds:], lds, rows-rows8, cols, alpha)
	}
}

// gatherAVX2 is gatherGo, fast where a row is a whole panel.
func gatherAVX2(dst []float32, src []float32, lds, rows, cols int, alpha float32) {
	if cols < Panel {
		gatherGo(dst, src, lds, rows, cols, alpha)
		return
	}
	copy256(&dst[0], &src[0], Panel*4, lds*4, rows, alpha)
}

// uprightAVX512 is uprightGo with one masked register per k.
func uprightAVX512(dst, src []float32, lds, depth, rows int) {
	copy512(&dst[0], &src[0], uprightStride*4, lds*4, depth, uint32(1<<rows-1), 1)
}

// standAVX512 is standGo in blocks of 16x16.
func standAVX512(dst, src []float32, lds, depth, rows int) {
	turn512(&dst[0], &src[0], uprightStride*4, lds*4, rows, depth, 1)
}

// upright256Stride is table.apart of AVX2: an upright strip of 6 rows.
const upright256Stride = 8

// firstLanes has, from 8-n on, n lanes that are on before those that are off.
var firstLanes = [16]int32{-1, -1, -1, -1, -1, -1, -1, -1}

// uprightAVX2 is uprightGo with one masked register per k.
func uprightAVX2(dst, src []float32, lds, depth, rows int) {
	upright256(&dst[0], &src[0], lds*4, depth, &firstLanes[8-rows])
}

// standAVX2 is standGo in blocks of 8x8, the rest one by one.
func standAVX2(dst, src []float32, lds, depth, rows int) {
	whole := depth &^ 7
	if whole > 0 {
		stand256(&dst[0], &src[0], lds*4, whole/8, rows)
	}
	for i := range rows {
		for k := whole; k < depth; k++ {
			dst[k*upright256Stride+i] = src[i*lds+k]
		}
	}
}
