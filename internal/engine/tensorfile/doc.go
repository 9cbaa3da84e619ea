// Package tensorfile reads model files and writes the two formats of our own:
// prepared weights, which children map and compute on, and the safetensors of
// adapters and optimiser state.
//
// Every reader here takes foreign bytes: sizes are checked against what is
// there before anything is allocated, and bad input is an *engine.Problem that
// names the file and the tensor.
//
// Tensors of prepared weights are named:
//
//	embed                 [Vocab, Hidden]   panels
//	head                  [Vocab, Hidden]   panels; absent when Config.Tied
//	norm                  [Hidden]
//	layers.N.attn_norm    [Hidden]
//	layers.N.mlp_norm     [Hidden]
//	layers.N.attn_post_norm, mlp_post_norm  [Hidden]   with Config.PostNorms
//	layers.N.q_norm, k_norm                 [HeadDim]  with Config.QKNorm
//	layers.N.q_proj ...   [out, in]         panels, one per engine.Targets
//	layers.N.q_proj_bias  [out]             one per Config.Biases
//
// Norms are stored as the factor that they apply: where a family's files hold
// that factor less one, import adds the one.
package tensorfile

import (
	"fmt"

	"github.com/firekeep/firekeep/internal/engine"
)

func problem(rule, object, key, format string, args ...any) *engine.Problem {
	return &engine.Problem{Rule: rule, Object: object, Key: key, Message: fmt.Sprintf(format, args...)}
}
