package kernel

var neonTable = table{
	level: LevelNEON, rows: 6, cols: 16, apart: uprightStride, tile: tileNEON, turn: turnNEON, gather: gatherNEON, upright: uprightGo,
	dot: dot4, axpy: axpy4, add: add4, scale: scale4, sumSquares: sumSquares4,
	normApply: normApply4, normBack: normBack4, dot3: dot3x4,
	siluMul: siluMul4, siluMulBack: siluMulBack4,
	rotate: rotate4, rotateBack: rotateBack4, expSub: expSub4, max: max4, softmaxBack: softmaxBack4,
	expand: expandNEON, few: fewNEON, fewDepth: fewDepth, fewRows: anyRows, few8: few8Go,
}
