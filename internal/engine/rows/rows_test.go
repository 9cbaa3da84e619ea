package rows

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"

	"github.com/firekeep/firekeep/internal/engine"
)

const good = `{"samples":[{"messages":[{"role":"user","content":"q"},{"role":"assistant","content":"a"}],"evals":{"score":1}},` +
	`{"messages":[{"role":"user","content":"q"},{"role":"assistant","content":"b"}],"evals":{"score":0.5}}]}`

// one is a row of one sample with the given fields.
func one(fields string) string { return `{"samples":[{` + fields + `}]}` }

const (
	msgs  = `"messages":[{"role":"user","content":"q"},{"role":"assistant","content":"a"}]`
	evals = `"evals":{"score":1}`
)

// preference is a row of a preferred and another answer.
var preference = `{` + input + `,"preferred_output":` + answer("a") + `,"non_preferred_output":` + answer("b") + `}`

const input = `"input":{"messages":[{"role":"user","content":"q"}],"tools":[{"type":"function"}]}`

// ask is a row of a batch.
func ask(id string) string {
	return `{"custom_id":"` + id + `","method":"POST","url":"/v1/chat/completions","body":{"messages":[{"role":"user","content":"q"}]}}`
}

func answer(text string) string { return `[{"role":"assistant","content":"` + text + `"}]` }

// badRows are datasets that validation refuses, with what it must name.
var badRows = []struct {
	name, rows string
	rule, key  string
	line       int64
	sample     int
}{
	{"no samples", good + "\n" + `{"samples":[]}`, RuleNoSamples, "samples", 2, 0},
	{"uneven group", good + "\n\n" + one(msgs+","+evals), RuleUneven, "samples", 3, 0},
	{"no evals", one(msgs), RuleNoReward, "evals", 1, 1},
	{"NaN", one(msgs + `,"evals":{"score":NaN}`), RuleNotFinite, "evals.score", 1, 1},
	{"infinity", one(msgs + `,"evals":{"score":-Infinity}`), RuleNotFinite, "evals.score", 1, 1},
	{"out of range", one(msgs + `,"evals":{"score":1e999}`), RuleNotFinite, "evals.score", 1, 1},
	{"bool", one(msgs + `,"evals":{"score":true}`), RuleNotNumber, "evals.score", 1, 1},
	{"string", one(msgs + `,"evals":{"score":"1"}`), RuleNotNumber, "evals.score", 1, 1},
	{"null", one(msgs + `,"evals":{"score":null}`), RuleNotNumber, "evals.score", 1, 1},
	{"string reward", `{` + msgs + `,"reward":"1"}`, RuleNotNumber, "reward", 1, 0},
	{"no assistant", one(`"messages":[{"role":"user","content":"q"}],` + evals), RuleNoAssistant, "messages", 1, 1},
	{"unknown role", one(`"messages":[{"role":"robot","content":"q"},{"role":"assistant","content":"a"}],` + evals), RuleRole, "messages[0].role", 1, 1},
	{"no role", one(`"messages":[{"content":"q"},{"role":"assistant","content":"a"}],` + evals), RuleRole, "messages[0].role", 1, 1},
	{"truncated", good + "\n" + good[:60], RuleJSON, "", 2, 1},
	{"invalid UTF-8", strings.Replace(good, `"content":"b"`, "\"content\":\"\xff\"", 1), RuleUTF8, "", 1, 2},
	{"wrong last role", one(`"messages":[{"role":"assistant","content":"a"},{"role":"user","content":"q"}],` + evals), RuleLastRole, "messages", 1, 1},
	{"empty messages", one(`"messages":[],` + evals), RuleNoMessages, "messages", 1, 1},
	{"no messages", one(evals), RuleNoMessages, "messages", 1, 1},
	{"bad weight", one(`"messages":[{"role":"assistant","content":"a","weight":0.5}],` + evals), RuleWeight, "messages[0].weight", 1, 1},
	{"no content", one(`"messages":[{"role":"assistant"}],` + evals), RuleType, "messages[0].content", 1, 1},
	{"content number", one(`"messages":[{"role":"assistant","content":3}],` + evals), RuleType, "messages[0].content", 1, 1},
	{"too many logprobs", one(msgs + "," + evals + `,"token_ids":[1],"logprobs":[-1,-2]`), RuleLogprobs, "logprobs", 1, 1},
	{"bad id", one(msgs + "," + evals + `,"token_ids":[1.5]`), RuleTokens, "token_ids", 1, 1},
	{"negative id", one(msgs + "," + evals + `,"token_ids":[-1]`), RuleTokens, "token_ids", 1, 1},
	{"duplicate key", one(msgs + "," + evals + "," + evals), RuleDuplicateKey, "evals", 1, 1},
	{"escaped duplicate", one(msgs + "," + evals + `,"\u0065vals":{}`), RuleDuplicateKey, "evals", 1, 1},
	{"deep", one(msgs + "," + evals + `,"x":` + strings.Repeat("[", 100) + strings.Repeat("]", 100)), RuleTooDeep, "", 1, 1},
	{"array row", `[1]`, RuleNotObject, "", 1, 0},
	{"other object", `{"prompt":"x"}`, RuleFormat, "samples", 1, 0},
	{"both", `{"samples":[{` + msgs + "," + evals + `}],` + msgs + `}`, RuleFormat, "messages", 1, 0},
	{"mixed", good + "\n{" + msgs + `,"reward":1}`, RuleMixed, "", 2, 0},
	{"trailing", good + "x", RuleJSON, "", 1, 0},
	{"empty", "\n \n", RuleNoSamples, "", 0, 0},
	{"control", strings.Replace(good, `"a"`, "\"\x01\"", 1), RuleJSON, "", 1, 1},
	{"pair without an answer", `{` + input + `,"preferred_output":` + answer("a") + `}`, RuleFormat, "input", 1, 0},
	{"pair of two messages", `{` + input + `,"preferred_output":[{"role":"assistant","content":"a"},{"role":"assistant","content":"a"}],"non_preferred_output":` + answer("b") + `}`,
		RuleLastRole, "preferred_output", 1, 0},
	{"pair with a user's answer", `{` + input + `,"preferred_output":` + answer("a") + `,"non_preferred_output":[{"role":"user","content":"q"}]}`, RuleLastRole, "non_preferred_output", 1, 0},
	{"pair without a prompt", `{"input":{"messages":[]},"preferred_output":` + answer("a") + `,"non_preferred_output":` + answer("b") + `}`, RuleNoMessages, "input.messages", 1, 0},
	{"pair of a string", `{"input":"q","preferred_output":` + answer("a") + `,"non_preferred_output":` + answer("b") + `}`, RuleType, "input", 1, 0},
	{"pairs among groups", good + "\n" + preference, RuleMixed, "", 2, 0},
	{"prompt of a list", `{"prompt":["a"],"completion":"b"}`, RuleType, "prompt", 1, 0},
	{"completion of null", `{"prompt":"a","completion":null}`, RuleType, "completion", 1, 0},
	{"no completion", `{"prompt":"a","completion":""}`, RuleNoCompletion, "completion", 1, 0},
	{"completion with a bad reward", `{"prompt":"a","completion":"b","reward":"1"}`, RuleNotNumber, "reward", 1, 0},
	{"completion with bad logprobs", `{"prompt":"a","completion":"b","token_ids":[1],"logprobs":[-1,-1]}`, RuleLogprobs, "logprobs", 1, 0},
	{"text among conversations", "{" + msgs + "}\n" + plainRow, RuleMixed, "", 2, 0},
	{"request without an id", ask("a") + "\n" + `{"body":{"messages":[]}}`, RuleCustomID, "custom_id", 2, 0},
	{"request with a number for an id", `{"custom_id":1,"body":{}}`, RuleCustomID, "custom_id", 1, 0},
	{"request with a blank id", `{"custom_id":" ","body":{}}`, RuleCustomID, "custom_id", 1, 0},
	{"request with a long id", ask(strings.Repeat("x", 513)), RuleCustomID, "custom_id", 1, 0},
	{"request twice", ask("a") + "\n" + ask("b") + "\n\n" + `{"body":{},"custom_id":"\u0061"}`, RuleCustomID, "custom_id", 4, 0},
	{"request without a body", ask("a") + "\n" + `{"custom_id":"b"}`, RuleNoBody, "body", 2, 0},
	{"request with a list for a body", `{"custom_id":"b","body":[]}`, RuleNoBody, "body", 1, 0},
	{"requests among groups", good + "\n" + ask("a"), RuleMixed, "", 2, 0},
	{"number", one(msgs + `,"evals":{"score":01}`), RuleJSON, "", 1, 1},
}

func validate(rows string, pieces int) (Summary, []Chunk, error) {
	var chunks []Chunk
	v, err := NewValidator("", func(c Chunk) error { chunks = append(chunks, c); return nil })
	if err != nil {
		return Summary{}, nil, err
	}
	v.Begin("rows.jsonl")
	for b := []byte(rows); len(b) > 0; {
		n := min(pieces, len(b))
		if _, err := v.Write(b[:n]); err != nil {
			return Summary{}, nil, err
		}
		b = b[n:]
	}
	if err := v.End(); err != nil {
		return Summary{}, nil, err
	}
	sum, err := v.Finish()
	return sum, chunks, err
}

func TestBadRows(t *testing.T) {
	for _, c := range badRows {
		for _, pieces := range []int{1, 7, 1 << 20} {
			_, _, err := validate(c.rows, pieces)
			var p *engine.Problem
			if !errors.As(err, &p) || p.Rule != c.rule || p.Key != c.key || p.Line != c.line || p.Sample != c.sample {
				t.Errorf("%s: got %#v; want rule %s, key %q, line %d, sample %d", c.name, err, c.rule, c.key, c.line, c.sample)
			}
		}
	}
}

func TestLineTooLong(t *testing.T) {
	v, _ := NewValidator("", func(Chunk) error { return nil })
	v.Begin("big.jsonl")
	if _, err := v.Write([]byte(good + "\n")); err != nil {
		t.Fatal(err)
	}
	var err error
	block := bytes.Repeat([]byte("x"), 1<<20)
	for n := 0; err == nil && n < 100; n++ {
		_, err = v.Write(block)
	}
	var p *engine.Problem
	if !errors.As(err, &p) || p.Rule != RuleLineTooLong || p.Line != 2 || p.Object != "big.jsonl" {
		t.Errorf("got %v", err)
	}
}

// TestNoContentInProblems: a problem quotes keys and positions, never content.
func TestNoContentInProblems(t *testing.T) {
	for _, c := range badRows {
		rows := strings.ReplaceAll(strings.ReplaceAll(c.rows, `"q"`, `"canary-7b1"`), `"a"`, `"canary-7b1"`)
		if _, _, err := validate(rows, 1<<20); err != nil && strings.Contains(err.Error(), "canary") {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

func TestChunksCoverGroups(t *testing.T) {
	chat := func(prompt, answer string) string {
		return fmt.Sprintf(`{"messages":[{"role":"user","content":%q},{"role":"assistant","content":%q}],"reward":0.5}`, prompt, answer)
	}
	rng := rand.New(rand.NewPCG(1, 2))
	for range 200 {
		var b strings.Builder
		var want []int // samples per group
		last := ""
		for range 1 + rng.IntN(30) {
			if rng.IntN(4) == 0 {
				b.WriteString([]string{"\n", "  \n", "\r\n"}[rng.IntN(3)])
			}
			prompt := string(rune('a' + rng.IntN(3)))
			if prompt != last {
				want = append(want, 0)
			}
			want[len(want)-1]++
			last = prompt
			b.WriteString(chat(prompt, fmt.Sprint(rng.IntN(9))) + "\n")
		}
		text := strings.TrimSuffix(b.String(), "\n")
		sum, chunks, err := validate(text, 1+rng.IntN(50))
		if err != nil {
			t.Fatal(err)
		}
		var got []int
		for _, c := range chunks {
			at, line := c.Offset, c.FirstLine
			for i, n := range c.Lengths {
				g, err := ParseGroup([]byte(text[at:at+n]), line)
				if err != nil {
					t.Fatal(err)
				}
				if want := int64(strings.Count(text[:at], "\n")) + 1; line != want {
					t.Fatalf("line %d, want %d", line, want)
				}
				got = append(got, len(g.Samples))
				at, line = at+n, line+int64(c.Lines[i])
			}
		}
		if !reflect.DeepEqual(got, want) || sum.Groups != int64(len(want)) || sum.Bytes != int64(len(text)) {
			t.Fatalf("groups %v, want %v; %+v", got, want, sum)
		}
	}
}

func TestSummary(t *testing.T) {
	sum, chunks, err := validate(good+"\n"+strings.ReplaceAll(good, `"score":1}`, `"score":1,"style":2},"logprobs":[-1]`)+"\n", 64)
	if err != nil {
		t.Fatal(err)
	}
	want := Summary{Format: FormatRL, Rows: 2, Groups: 2, Samples: 4, SamplesPerGroup: 2, WithLogprobs: 1, EvalKeys: []string{"score"}, Turns: 8, Bytes: sum.Bytes}
	if !reflect.DeepEqual(sum, want) || len(chunks) != 1 || len(chunks[0].Lengths) != 2 {
		t.Errorf("%+v, %+v", sum, chunks)
	}
	if sum, _, _ = validate(one(msgs+","+evals), 64); len(sum.Warnings) != 1 {
		t.Errorf("one-sample rows must warn: %+v", sum)
	}
}

func TestPreferences(t *testing.T) {
	sum, chunks, err := validate(preference+"\n"+preference+"\n", 9)
	if err != nil || sum.Format != FormatDPO || sum.Groups != 2 || sum.Samples != 4 || sum.SamplesPerGroup != 2 || len(sum.EvalKeys) != 0 || len(chunks) != 1 {
		t.Fatalf("%+v %v", sum, err)
	}
	g, err := ParseGroup([]byte(preference), 3)
	if err != nil || g.Format != FormatDPO || len(g.Samples) != 2 {
		t.Fatalf("%+v %v", g, err)
	}
	for i, text := range []string{"a", "b"} {
		want := `[{"role":"user","content":"q"},{"role":"assistant","content":"` + text + `"}]`
		if s := g.Samples[i]; string(s.Messages) != want || string(s.Tools) != `[{"type":"function"}]` || s.promptTurns() != 1 {
			t.Errorf("sample %d: %s, tools %s", i, s.Messages, s.Tools)
		}
	}
	if r, err := g.CheckRewards(map[string]float64{"score": 1}); err != nil || !reflect.DeepEqual(r, []float64{1, 0}) {
		t.Errorf("rewards %v %v", r, err)
	}
	if _, err := ParseGroup([]byte(preference+"\n"+preference), 1); err == nil {
		t.Error("two pairs passed for one group")
	}
	// Rows of other formats may use these keys as they like.
	for _, row := range []string{strings.Replace(good, `{"samples"`, `{"input":"x","preferred_output":3,"samples"`, 1), `{"input":[],` + msgs + `,"reward":1}`} {
		if _, _, err := validate(row, 64); err != nil {
			t.Errorf("%s: %v", row, err)
		}
	}
}

// TestSupervisedRowsNeedNoReward, but a step on rewards says which row has none.
func TestSupervisedRowsNeedNoReward(t *testing.T) {
	rows := "{" + msgs + "}\n{" + msgs + `,"reward":1}` + "\n"
	sum, _, err := validate(rows, 64)
	if err != nil || sum.Format != FormatChat || sum.Rows != 2 || len(sum.EvalKeys) != 0 {
		t.Fatalf("%+v %v", sum, err)
	}
	g, err := ParseGroup([]byte(rows), 5)
	if err != nil {
		t.Fatal(err)
	}
	var p *engine.Problem
	if _, err := g.CheckRewards(map[string]float64{"score": 1}); !errors.As(err, &p) || p.Rule != RuleNoReward || p.Line != 5 {
		t.Errorf("%v", err)
	}
}

func TestRewards(t *testing.T) {
	g, err := ParseGroup([]byte(good), 7)
	if err != nil {
		t.Fatal(err)
	}
	r, err := g.CheckRewards(map[string]float64{"score": 2})
	if err != nil || !reflect.DeepEqual(r, []float64{2, 1}) {
		t.Errorf("%v %v", r, err)
	}
	_, err = g.CheckRewards(map[string]float64{"score": 1, "style": 1})
	var p *engine.Problem
	if !errors.As(err, &p) || p.Rule != RuleNoReward || p.Key != "style" || p.Line != 7 || p.Sample != 1 {
		t.Errorf("%v", err)
	}
}

func BenchmarkValidate(b *testing.B) {
	long := strings.Replace(good, `"content":"a"`, `"content":"`+strings.Repeat("Some words of an answer, with \\n escapes. ", 100)+`"`, 2)
	data := []byte(strings.Repeat(long+"\n", 200))
	b.SetBytes(int64(len(data)))
	for b.Loop() {
		v, _ := NewValidator("", func(Chunk) error { return nil })
		v.Begin("x")
		if _, err := v.Write(data); err != nil {
			b.Fatal(err)
		}
	}
}

const plainRow = `{"prompt":"1 + 1 = ","completion":"2"}`

// TestCompletionRows: adjacent rows of one prompt are a group, scores are kept,
// and a conversation may have keys of these names.
func TestCompletionRows(t *testing.T) {
	text := plainRow + "\n" + `{"completion":"3","reward":0,"prompt":"1 + 1 = "}` + "\n" + `{"prompt":"","completion":"x","evals":{"score":1}}`
	sum, chunks, err := validate(text, 7)
	if err != nil || sum.Format != FormatCompletion || sum.Groups != 2 || sum.Samples != 3 || len(sum.EvalKeys) != 0 || len(chunks) != 1 || len(chunks[0].Lengths) != 2 {
		t.Fatalf("%+v %v %v", sum, chunks, err)
	}
	g, err := ParseGroup([]byte(text[:chunks[0].Lengths[0]]), 1)
	if err != nil || len(g.Samples) != 2 || g.Samples[1].Prompt != "1 + 1 = " || g.Samples[1].Completion != "3" || g.Samples[1].Line != 2 {
		t.Fatalf("%+v %v", g, err)
	}
	for _, other := range []string{"{" + msgs + `,"prompt":"a","completion":"b"}`, `{"prompt":1,"completion":{},` + good[1:]} {
		if g, err := ParseGroup([]byte(other), 1); err != nil || g.Format == FormatCompletion {
			t.Errorf("%s: %+v %v", other, g, err)
		}
	}
}

// TestRequests: rows to be answered are groups of their own, whatever the pieces
// they come in, and other formats may have keys of the same names.
func TestRequests(t *testing.T) {
	text := ask("a") + "\n\n" + ask("b") + "\n" + ask("c")
	for _, pieces := range []int{1, 7, 1 << 20} {
		sum, chunks, err := validate(text, pieces)
		if err != nil || sum.Format != FormatBatch || sum.Rows != 3 || sum.Groups != 3 || sum.Samples != 0 || sum.SamplesPerGroup != 0 || len(sum.Warnings) != 0 {
			t.Fatalf("%+v, %v", sum, err)
		}
		n := int64(len(ask("a")))
		if len(chunks) != 1 || !reflect.DeepEqual(chunks[0].Lengths, []int64{n + 2, n + 1, n}) {
			t.Fatalf("%+v", chunks)
		}
	}
	g, err := ParseGroup([]byte(ask("a")), 1)
	if err != nil || g.Format != FormatBatch {
		t.Fatalf("%+v, %v", g, err)
	}
	sum, _, err := validate(`{`+msgs+`,"custom_id":7,"body":"x"}`, 1<<20)
	if err != nil || sum.Format != FormatChat {
		t.Errorf("a chat row with a custom_id: %+v, %v", sum, err)
	}
}
