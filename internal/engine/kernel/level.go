package kernel

import (
	"fmt"
	"slices"
)

// Level is an implementation of the kernels. Results are comparable bit by bit
// within a level only, so the level is part of what a checkpoint records.
type Level int

const (
	LevelGo     Level = iota // pure Go, every machine: the oracle
	LevelAVX2                // amd64 with AVX2 and FMA
	LevelAVX512              // amd64 with AVX-512 F, VL, BW and DQ

	// Levels that add products in bfloat16 to those of LevelAVX512.
	LevelAVX512BF16 // with VDPBF16PS
	LevelAMX        // with Intel's tiles

	LevelNEON // arm64: Advanced SIMD
)

var levelNames = [...]string{LevelGo: "go", LevelAVX2: "avx2", LevelAVX512: "avx512", LevelAVX512BF16: "avx512bf16", LevelAMX: "amx", LevelNEON: "neon"}

func (l Level) String() string {
	if l < 0 || int(l) >= len(levelNames) {
		return fmt.Sprintf("Level(%d)", int(l))
	}
	return levelNames[l]
}

// ParseLevel is the inverse of String.
func ParseLevel(s string) (Level, error) {
	for l, name := range levelNames {
		if s == name {
			return Level(l), nil
		}
	}
	return 0, fmt.Errorf("kernel level %q is unknown: use go, avx2, avx512, avx512bf16, amx or neon", s)
}

// Float32 is the level whose bits l gives in float32 precision.
func (l Level) Float32() Level {
	if l == LevelAVX512BF16 || l == LevelAMX {
		return LevelAVX512
	}
	return l
}

// DetectBF16 is Detect for the levels that multiply bfloat16. It too ends with
// LevelGo, whose bfloat16 is there to be compared with, not to be fast.
func DetectBF16() []Level { return append(detectArchBF16(), LevelGo) }

// Detect returns the levels that this processor and operating system can run
// in float32, best first. It always ends with LevelGo. A caller takes the first one that
// passes SelfTest.
func Detect() []Level {
	return append(detectArch(), LevelGo)
}

// table is the set of functions of one level.
type table struct {
	level Level
	// rows and cols are the most rows and columns of the result that tile computes at
	// once; few may be given a whole panel. apart is what lies between the k's of an
	// upright strip.
	rows, cols, apart int
	tile              tileFunc
	// turn and gather rearrange the right operand: see turnGo and gatherGo.
	turn, gather func(dst, src []float32, lds, rows, cols int, alpha float32)
	// upright copies a tile of a^T: see uprightGo. stand does so for rows of a, nil
	// where tile does not read an upright copy faster than the rows: see standGo.
	upright, stand func(dst, src []float32, lds, depth, rows int)

	dot         func(a, b []float32) float32
	axpy        func(y, x []float32, a float32)
	add         func(y, x []float32)
	scale       func(x []float32, a float32)
	sumSquares  func(x []float32) float64
	normApply   func(y, x, w []float32, inv float32)
	normBack    func(dx, dy, x, w []float32, inv, c float32)
	dot3        func(a, b, c []float32) float64
	siluMul     func(out, gate, up []float32)
	siluMulBack func(dgate, dup, dout, gate, up []float32)
	rotate      func(lo, hi, cos, sin []float32)
	rotateBack  func(lo, hi, cos, sin []float32)
	expSub      func(y, x []float32, c float32) float64
	max         func(x []float32) float32
	softmaxBack func(p, dp []float32, lse, d float32)

	// expand makes float32 values of coded weights.
	expand expandFunc
	// few is tile for decoding, a depth of fewDepth at a time.
	few      fewFunc
	fewDepth int
	// fewRows is how many rows decoding gives few; more multiply as training does.
	fewRows int
	// lookAhead is how far before its use one strip asks for a stream of float32 weights,
	// in floats; 0 = the processor follows such a stream faster by itself.
	lookAhead int
	// one is few for one row, nil = none.
	one oneFunc
	// few8 is few for int8 weights; fastInt8: it beats few on memory's account.
	few8     few8Func
	fastInt8 bool
	bf16     *unitBF16 // nil = none
}

// anyRows is the fewRows of a level whose few is never slower.
const anyRows = 1 << 30

// permit asks the operating system for what the level needs.
func (t *table) permit() error {
	if t.bf16 == nil || t.bf16.permit == nil {
		return nil
	}
	if err := t.bf16.permit(); err != nil {
		return fmt.Errorf("kernel level %v: %w", t.level, err)
	}
	return nil
}

var goTable = table{
	level: LevelGo, rows: 4, cols: Panel, apart: uprightStride, tile: tileGo, turn: turnGo, gather: gatherGo, upright: uprightGo, stand: standGo,
	dot: dotGo, axpy: axpyGo, add: addGo, scale: scaleGo, sumSquares: sumSquaresGo,
	normApply: normApplyGo, normBack: normBackGo, dot3: dot3Go,
	siluMul: siluMulGo, siluMulBack: siluMulBackGo,
	rotate: rotateGo, rotateBack: rotateBackGo, expSub: expSubGo, max: maxGo, softmaxBack: softmaxBackGo,
	expand: expandGo, few: fewGo, fewDepth: fewDepth, fewRows: anyRows, one: oneGo, few8: few8Go,
	bf16: &goBF16,
}

// active is the table in use. It is written by Use at start only.
var active = &goTable

// tableOf returns the table of a level, or nil where this machine has none.
func tableOf(l Level) *table {
	for _, have := range slices.Concat(DetectBF16(), Detect()) {
		if have == l {
			if l == LevelGo {
				return &goTable
			}
			return archTable(l)
		}
	}
	return nil
}

// Use makes l the level of every following call. Call it once at start, before
// any other use of the package, with a level from Detect that passed SelfTest;
// it panics when this machine cannot run l.
func Use(l Level) {
	t := tableOf(l)
	if t == nil {
		panic("kernel: level " + l.String() + " cannot run on this machine")
	}
	active = t
}

// Active returns the level in use: LevelGo until Use is called.
func Active() Level { return active.level }
