package child

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/firekeep/firekeep/internal/engine"
	"github.com/firekeep/firekeep/internal/engine/sample"
	"github.com/firekeep/firekeep/internal/engine/token"
	"github.com/firekeep/firekeep/internal/wire"
)

// conversation is a chat whose every message is one token in the counting below.
func conversation(t *testing.T, roles string) *token.Messages {
	t.Helper()
	var parts []string
	for i, r := range strings.Fields(roles) {
		parts = append(parts, fmt.Sprintf(`{"role":%q,"content":"%d"}`, map[string]string{"s": "system", "u": "user", "a": "assistant"}[r], i))
	}
	m, err := token.ParseMessages([]byte("[" + strings.Join(parts, ",") + "]"))
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// TestRequestLosesNothing: every field of a request on the wire reaches the
// sampler.
func TestRequestLosesNothing(t *testing.T) {
	seed := int64(1)
	m := wire.SampleRequest{ID: 1, Caller: 7, Adapter: "a", Tokens: []int32{1}, N: 2, MaxTokens: 3, Temperature: 0.1, TopP: 0.2, TopK: 4, MinP: 0.3, TypicalP: 0.4, Seed: &seed,
		RepetitionPenalty: 1.5, FrequencyPenalty: 0.6, PresencePenalty: 0.7, Bias: []wire.Bias{{ID: 5, Value: 0.8}}, Stop: []string{"s"}, IgnoreEOS: true, Logprobs: true,
		TopLogprobs: 1, Echo: true, EchoLast: 6, Truncate: true}
	elsewhere := map[string]bool{"Messages": true, "Tools": true, "Prompt": true, "Template": true, "TruncatePrompt": true} // make the prompt
	for i, v := 0, reflect.ValueOf(m); i < v.NumField(); i++ {
		if name := v.Type().Field(i).Name; v.Field(i).IsZero() && !elsewhere[name] {
			t.Errorf("%s is new: say what becomes of it", name)
		}
	}
	j := (&sampling{text: &text{}}).requestJob(m)
	if j.refused != nil {
		t.Fatal(j.refused)
	}
	for i, v := 0, reflect.ValueOf(*j.request); i < v.NumField(); i++ {
		if v.Field(i).IsZero() {
			t.Errorf("%s of the request is lost", v.Type().Field(i).Name)
		}
	}
	if r := j.request; r.TopP != 0.2 || r.MinP != 0.3 || r.TypicalP != 0.4 || r.RepetitionPenalty != 1.5 || r.FrequencyPenalty != 0.6 || r.PresencePenalty != 0.7 ||
		r.Bias[0] != (sample.Bias{ID: 5, Value: 0.8}) || *r.Seed != seed {
		t.Errorf("%+v", r)
	}
}

// TestTruncatedPrompt: the earliest turns go, whole; system messages and the last
// turn stay; nothing more goes than has to.
func TestTruncatedPrompt(t *testing.T) {
	for _, c := range []struct {
		roles string
		limit int
		want  string // roles that stay; "" = refused
	}{
		{"s u a u a u", 6, "s u a u a u"},
		{"s u a u a u", 5, "s u a u"},
		{"s u a u a u", 4, "s u a u"},
		{"s u a u a u", 3, "s u"},
		{"s u a u a u", 2, "s u"},
		{"s u a u a u", 1, ""},
		{"u a u a u", 4, "u a u"},
		{"u a a u", 3, "u"},
		{"s s u a u", 4, "s s u"},
		{"u", 1, "u"},
		{"s a a a", 3, ""},
	} {
		m := conversation(t, c.roles)
		ids, err := truncated(m, c.limit, func(m *token.Messages) ([]int32, error) {
			return slices.Repeat([]int32{int32(m.Len())}, m.Len()), nil
		})
		var p *engine.Problem
		switch {
		case c.want == "":
			if !errors.As(err, &p) || p.Key != "prompt_truncate_len" {
				t.Errorf("%s in %d: %v", c.roles, c.limit, err)
			}
		case err != nil || len(ids) != len(strings.Fields(c.want)):
			t.Errorf("%s in %d: %d tokens, %v, want %s", c.roles, c.limit, len(ids), err, c.want)
		}
	}
	long := conversation(t, strings.Repeat("u a ", 2000)+"u")
	renderings := 0
	ids, err := truncated(long, 101, func(m *token.Messages) ([]int32, error) {
		renderings++
		return make([]int32, m.Len()), nil
	})
	if err != nil || len(ids) != 101 || renderings > 14 {
		t.Errorf("%d tokens after %d renderings, %v", len(ids), renderings, err)
	}
}
