package kernel

var avx512Table = table{
	level: LevelAVX512, rows: 14, cols: Panel, apart: uprightStride, tile: tileAVX512, turn: turnAVX512, gather: gatherAVX512, upright: uprightAVX512, stand: standAVX512,
	dot: dot512, axpy: axpy512, add: add512, scale: scale512, sumSquares: sumSquares512,
	normApply: normApply512, normBack: normBack512, dot3: dot3x512,
	siluMul: siluMul512, siluMulBack: siluMulBack512,
	rotate: rotate512, rotateBack: rotateBack512, expSub: expSub512, max: max512, softmaxBack: softmaxBack512,
	expand: expandAVX512, few: fewAVX512, fewDepth: fewDepth, fewRows: anyRows, lookAhead: lookAhead, one: oneAVX512, few8: few8AVX512, fastInt8: true,
}

var avx2Table = table{
	level: LevelAVX2, rows: 6, cols: 16, apart: upright256Stride, tile: tileAVX2, turn: turnAVX2, gather: gatherAVX2, upright: uprightAVX2, stand: standAVX2,
	dot: dot256, axpy: axpy256, add: add256, scale: scale256, sumSquares: sumSquares256,
	normApply: normApply256, normBack: normBack256, dot3: dot3x256,
	siluMul: siluMul256, siluMulBack: siluMulBack256,
	rotate: rotate256, rotateBack: rotateBack256, expSub: expSub256, max: max256, softmaxBack: softmaxBack256,
	expand: expandAVX2, few: fewAVX2, fewDepth: fewDepthNarrow, fewRows: 3, one: oneAVX2, few8: few8Go,
}
