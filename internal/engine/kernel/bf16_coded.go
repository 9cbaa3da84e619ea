package kernel

// One sequence that is decoded in bfloat16 reads codes where the model was stored in
// them, a quarter or a half of what Packed.BF16 takes; its bits are those of Packed.BF16.
// More rows keep to that: rounding a block for them costs as much as memory saves
// (8 rows took a tenth longer, measured).

// onePairsFunc is a strip of one row by a whole panel of codes: k is a multiple of Panel.
type onePairsFunc func(c []float32, a []uint16, src []float32, coding Coding, k int, acc bool)

// readsCodes says whether one row is multiplied with codes in bfloat16.
func (w *Packed) readsCodes(u *unitBF16) bool {
	return u.one != nil && (w.Coding.Kind == Code4 || w.Coding.Kind == Code8)
}

// rowByCodes is the rest of panelsBF16 for one row, g having rounded it.
func (g *productBF16) rowByCodes(w *Packed, p0, p1 int) {
	_ = w.Data[w.at(p1, 0)-1] // the assembly has no bounds checks of its own
	for p := p0; p < p1; p++ {
		if (p+1)*Panel > g.n {
			g.run(0, 1, p, p1)
			return
		}
		g.u.one(g.c[p*Panel:(p+1)*Panel], g.a, w.Data[w.at(p, 0):], w.Coding, g.k, g.acc)
	}
}

// onePairsGo is the reference of onePairsFunc.
func onePairsGo(c []float32, a []uint16, src []float32, coding Coding, k int, acc bool) {
	var room [blockBF16]float32
	var block [blockBF16]uint16
	for q := 0; q < k; q += Panel {
		expandGo(room[:], src[q*coding.width():], coding, Panel)
		PackPanelBF16(block[:], room[:], Panel)
		stripBF16Go(c, Panel, a[q:], 0, block[:], 0, 1, 1, Panel, acc || q > 0, ahead{})
	}
}
