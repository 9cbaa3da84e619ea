// Package token turns text into token ids and back, and messages into text.
//
// New reads a tokenizer.json (BPE over bytes, or over characters in
// SentencePiece's manner) or the blob of prepared weights around one; ids equal those of Hugging Face's tokenizers. ParseTemplate reads
// a chat template; it renders what transformers' apply_chat_template renders,
// in bounded time and memory. Both refuse what they cannot do exactly.
package token

import (
	"fmt"

	"github.com/firekeep/firekeep/internal/engine"
)

func problem(rule, key, format string, args ...any) *engine.Problem {
	return &engine.Problem{Rule: rule, Object: "tokenizer.json", Key: key, Message: fmt.Sprintf(format, args...)}
}
