package rows

import (
	"fmt"

	"github.com/firekeep/firekeep/internal/engine"
)

// Rules of problems that rows can have. They are stable: tests, users' scripts
// and the documentation name them.
const (
	RuleLineTooLong     = "line-too-long"
	RuleUTF8            = "invalid-utf8"
	RuleJSON            = "invalid-json"
	RuleNotObject       = "not-an-object"
	RuleDuplicateKey    = "duplicate-key"
	RuleTooDeep         = "too-deep"
	RuleType            = "wrong-type"
	RuleNoSamples       = "no-samples"
	RuleUneven          = "uneven-group"
	RuleNoMessages      = "no-messages"
	RuleRole            = "unknown-role"
	RuleNoAssistant     = "no-assistant-message"
	RuleNoCompletion    = "no-completion"
	RuleLastRole        = "wrong-last-role"
	RuleWeight          = "bad-weight"
	RuleNoReward        = "missing-reward"
	RuleNotNumber       = "not-a-number"
	RuleNotFinite       = "not-finite"
	RuleLogprobs        = "logprobs-length"
	RuleTokens          = "bad-token-ids"
	RuleTokensPrompt    = "token-ids-prompt"
	RuleNotPrefix       = "not-a-prefix"
	RuleMixed           = "mixed-formats"
	RuleFormat          = "unknown-format"
	RuleTooManySamples  = "too-many-samples"
	RuleTooManyMessages = "too-many-messages"
	RuleCustomID        = "bad-custom-id"
	RuleNoBody          = "no-body"
	RuleTooManyRequests = "too-many-requests"
)

// Bounds of one row.
const (
	MaxLine     = 64 << 20 // bytes
	MaxDepth    = 64       // of nested JSON
	MaxSamples  = 4096     // of one group
	MaxMessages = 16384    // of one sample
)

func problem(line int64, sample int, rule, key, format string, args ...any) *engine.Problem {
	return &engine.Problem{Rule: rule, Line: line, Sample: sample, Key: key, Message: fmt.Sprintf(format, args...)}
}
