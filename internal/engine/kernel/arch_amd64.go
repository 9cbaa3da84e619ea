package kernel

// cpuid returns the registers of CPUID for a leaf and a subleaf.
//
//go:noescape
func cpuid(leaf, subleaf uint32) (a, b, c, d uint32)

// xgetbv returns the register states that the operating system saves.
//
//go:noescape
func xgetbv() uint32

// detectArch looks at the processor's feature bits and at whether the operating
// system saves the registers: without the latter the instructions fault.
func detectArch() []Level {
	const (
		fma, osxsave, avx, f16c = 1 << 12, 1 << 27, 1 << 28, 1 << 29            // leaf 1, c
		avx2, avx512f, avx512dq = 1 << 5, 1 << 16, 1 << 17                      // leaf 7, b
		avx512bw, avx512vl      = 1 << 30, 1 << 31                              // leaf 7, b
		ymmState, zmmState      = 1<<1 | 1<<2, 1<<1 | 1<<2 | 1<<5 | 1<<6 | 1<<7 // XCR0
		needed1, needed2        = fma | osxsave | avx | f16c, avx2
		needed512               = avx2 | avx512f | avx512dq | avx512bw | avx512vl
	)
	most, _, _, _ := cpuid(0, 0)
	if most < 7 {
		return nil
	}
	_, _, c1, _ := cpuid(1, 0)
	if c1&needed1 != needed1 {
		return nil
	}
	saved := xgetbv()
	_, b7, _, _ := cpuid(7, 0)
	var levels []Level
	if b7&needed512 == needed512 && saved&zmmState == zmmState {
		levels = append(levels, LevelAVX512)
	}
	if b7&needed2 == needed2 && saved&ymmState == ymmState {
		levels = append(levels, LevelAVX2)
	}
	return levels
}

func archTable(l Level) *table {
	switch l {
	case LevelAVX512:
		return &avx512Table
	case LevelAVX512BF16:
		return &avx512BF16Table
	case LevelAMX:
		return &amxTable
	case LevelAVX2:
		return &avx2Table
	}
	return nil
}

// pause tells the processor that a loop waits for another thread.
func pause()
