// Package engine holds what every room of the numeric island shares: the
// training Spec, the Model configuration and the one error type for bad input.
//
// The island is internal/engine/...: it knows no network, no database and no
// resource names. Its rooms, lowest first:
//
//	kernel                 float32 kernels: GEMM, attention pieces, vector functions
//	tensorfile, token      safetensors, GGUF, prepared weights | tokenisers, chat templates
//	rows                   dataset rows: parsing, validation, tokenisation
//	model                  forward and backward over packed forests, LoRA adapters
//	optim, rl              AdamW | advantages and losses
//	sample, train          decoding with a KV cache | the reinforcement step
package engine
