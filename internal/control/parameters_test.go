package control

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/firekeep/firekeep/api"
	"github.com/firekeep/firekeep/internal/rft"
)

// TestParametersReachTheEngine: each parameter arrives, under its bounds, as the
// field that the engine reads; the neutral values arrive as nothing asked for.
func TestParametersReachTheEngine(t *testing.T) {
	for body, want := range map[string]string{
		`"max_tokens":7`:                              `"maxTokens":7`,
		`"max_completion_tokens":7`:                   `"maxTokens":7`,
		`"max_tokens":null,"max_completion_tokens":9`: `"maxTokens":9`,
		`"echo":true,"max_tokens":0`:                  `"maxTokens":-1`,
		`"echo_last":3,"max_tokens":0`:                `"maxTokens":-1`,
		`"temperature":0.5`:                           `"temperature":0.5`,
		`"top_p":0.5`:                                 `"topP":0.5`,
		`"top_k":40`:                                  `"topK":40`,
		`"top_k":-1`:                                  `"topK":0`,
		`"min_p":0.05`:                                `"minP":0.05`,
		`"typical_p":0.9`:                             `"typicalP":0.9`,
		`"frequency_penalty":-1.5`:                    `"frequencyPenalty":-1.5`,
		`"presence_penalty":2`:                        `"presencePenalty":2`,
		`"repetition_penalty":1.25`:                   `"repetitionPenalty":1.25`,
		`"logit_bias":{"12":-100,"3":4.5}`:            `"bias":[{"id":3,"value":4.5},{"id":12,"value":-100}]`,
		`"seed":-3`:                                   `"seed":-3`,
		`"n":4`:                                       `"n":4`,
		`"stop":"a"`:                                  `"stop":["a"]`,
		`"stop":["a","b"]`:                            `"stop":["a","b"]`,
		`"ignore_eos":true`:                           `"ignoreEos":true`,
		`"logprobs":true,"top_logprobs":3`:            `"logprobs":true,"topLogprobs":3`,
		`"logprobs":4`:                                `"logprobs":true,"topLogprobs":4`,
		`"return_token_ids":true`:                     `"logprobs":true`,
		`"raw_output":true`:                           `"logprobs":true`,
		`"echo":true`:                                 `"echo":true`,
		`"echo_last":5`:                               `"echo":true,"echoLast":5`,
		`"prompt_truncate_len":100`:                   `"truncatePrompt":100`,
		`"stream":true`:                               `"truncate":true`,
		`"context_length_exceeded_behavior":"truncate"`: `"truncate":true`,
	} {
		got := wireOf(t, body)
		if !strings.Contains(got, want) {
			t.Errorf("%s became %s, want %s", body, got, want)
		}
	}
	if got := wireOf(t, `"context_length_exceeded_behavior":"error"`); strings.Contains(got, "truncate") {
		t.Errorf("error became %s", got)
	}
	// These ask for nothing that changes an answer.
	plain := wireOf(t, `"n":1`)
	for _, body := range []string{
		`"user":"u","prompt_cache_key":"k","prompt_cache_isolation_key":"i","metadata":{"a":"b"},"service_tier":"priority"`,
		`"speculation":"text","prediction":{"type":"content","content":"x"},"parallel_tool_calls":true`,
		`"response_format":{"type":"text"},"tool_choice":"none","function_call":"auto","images":[],"mirostat_target":null`,
		`"perf_metrics_in_response":true,"stream_options":{"include_usage":true},"logprobs":false,"unknown_parameter":[1]`,
		`"echo_last":0,"logit_bias":{},"stop":null,"seed":null,"temperature":null,"stream":null,"safe_tokenization":false`,
	} {
		if got := wireOf(t, body); got != plain {
			t.Errorf("%s became %s, want %s", body, got, plain)
		}
	}
}

func wireOf(t *testing.T, parameters string) string {
	t.Helper()
	var r api.CompletionRequest
	if err := json.Unmarshal([]byte("{"+parameters+"}"), &r); err != nil {
		t.Fatalf("%s: %v", parameters, err)
	}
	q, err := sampleRequest(&r, true)
	if err != nil {
		t.Fatalf("%s: %v", parameters, err)
	}
	b, err := json.Marshal(q)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// TestParametersAreRefused: what is out of bounds, or what this engine does not
// have, is refused by name; nothing is left out in silence.
func TestParametersAreRefused(t *testing.T) {
	for body, field := range map[string]string{
		`"max_tokens":-1`: "max_tokens",
		`"max_tokens":0`:  "max_tokens",
		`"max_tokens":1,"max_completion_tokens":2`: "max_tokens",
		`"n":0`:                                    "n",
		`"n":129`:                                  "n",
		`"temperature":2.1`:                        "temperature",
		`"top_p":-0.1`:                             "top_p",
		`"top_k":-2`:                               "top_k",
		`"min_p":1.01`:                             "min_p",
		`"typical_p":-1`:                           "typical_p",
		`"frequency_penalty":2.5`:                  "frequency_penalty",
		`"presence_penalty":-3`:                    "presence_penalty",
		`"repetition_penalty":0`:                   "repetition_penalty",
		`"repetition_penalty":2.5`:                 "repetition_penalty",
		`"logit_bias":{"1":101}`:                   "logit_bias",
		`"logit_bias":{"-1":1}`:                    "logit_bias",
		`"stop":["a","b","c","d","e"]`:             "stop",
		`"stop":""`:                                "stop",
		`"logprobs":6`:                             "logprobs",
		`"top_logprobs":2`:                         "top_logprobs",
		`"logprobs":true,"top_logprobs":6`:         "top_logprobs",
		`"echo_last":-1`:                           "echo_last",
		`"prompt_truncate_len":0`:                  "prompt_truncate_len",
		`"context_length_exceeded_behavior":"ask"`: "context_length_exceeded_behavior",
		`"service_tier":"gold"`:                    "service_tier",
		`"mirostat_target":5`:                      "mirostat_target",
		`"images":["data:"]`:                       "images",
		`"safe_tokenization":true`:                 "safe_tokenization",
		`"response_format":{"type":"json_schema"}`: "response_format",
		`"response_format":{"type":"grammar"}`:     "response_format",
		`"response_format":{"type":"json_object"}`: "response_format",
	} {
		var r api.CompletionRequest
		if err := json.Unmarshal([]byte("{"+body+"}"), &r); err != nil {
			t.Fatalf("%s: %v", body, err)
		}
		_, err := sampleRequest(&r, true)
		e, ok := err.(*rft.Error)
		if !ok || e.Kind != rft.KindInvalidArgument || e.Field != field || !strings.Contains(e.Message, field) {
			t.Errorf("%s: %v, want a refusal of %s", body, err, field)
		}
	}
}

// TestForcedCallsAreRefused: answers are text, so no call can be forced.
func TestForcedCallsAreRefused(t *testing.T) {
	for body, refused := range map[string]bool{
		`{"tools":[{"type":"function"}],"tool_choice":"auto"}`:        false,
		`{"tools":[{"type":"function"}],"tool_choice":"none"}`:        false,
		`{"tool_choice":"required"}`:                                  true,
		`{"tool_choice":"any"}`:                                       true,
		`{"tool_choice":{"type":"function","function":{"name":"f"}}}`: true,
		`{"functions":[{"name":"f"}]}`:                                true,
		`{"function_call":{"name":"f"}}`:                              true,
		`{"tools":"f"}`:                                               true,
	} {
		var r api.CompletionRequest
		if err := json.Unmarshal([]byte(body), &r); err != nil {
			t.Fatal(err)
		}
		if _, err := templateTools(&r); (err != nil) != refused {
			t.Errorf("%s: %v", body, err)
		}
	}
}
