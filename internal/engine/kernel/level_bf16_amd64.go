package kernel

// The tables of the bfloat16 levels are that of LevelAVX512 with a unit.
var (
	avx512BF16Table = withBF16(LevelAVX512BF16, &avx512BF16)
	amxTable        = withBF16(LevelAMX, &amxBF16)
)

func withBF16(l Level, u *unitBF16) table {
	t := avx512Table
	t.level, t.bf16 = l, u
	return t
}

// detectArchBF16 returns the levels above LevelAVX512 that this processor has,
// best first.
func detectArchBF16() []Level {
	const avx512bf16 = 1 << 5 // leaf 7, subleaf 1, a
	var levels []Level
	if detected := detectArch(); len(detected) == 0 || detected[0] != LevelAVX512 {
		return nil
	}
	if most, _, _, _ := cpuid(7, 0); most >= 1 {
		if a, _, _, _ := cpuid(7, 1); a&avx512bf16 != 0 {
			if hasAMX() {
				levels = append(levels, LevelAMX)
			}
			levels = append(levels, LevelAVX512BF16)
		}
	}
	return levels
}
