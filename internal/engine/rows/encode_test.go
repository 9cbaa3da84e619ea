package rows_test

import (
	"errors"
	"math"
	"reflect"
	"strings"
	"testing"

	"github.com/firekeep/firekeep/internal/engine"
	"github.com/firekeep/firekeep/internal/engine/rows"
	"github.com/firekeep/firekeep/internal/engine/token"
)

// byteTokenizer has one token per byte and ChatML's two special tokens, so
// that expected ids can be written down.
const byteVocab = 256

func byteTokenizer(t testing.TB) *token.Tokenizer {
	t.Helper()
	var vocab strings.Builder
	moved := rune(256)
	for b := range rune(byteVocab) {
		r := b
		if !(b >= '!' && b <= '~' || b >= 0xa1 && b <= 0xac || b >= 0xae) {
			r, moved = moved, moved+1
		}
		if b > 0 {
			vocab.WriteByte(',')
		}
		text := string(r)
		if r == '"' || r == '\\' {
			text = `\` + text
		}
		vocab.WriteString(`"` + text + `":` + itoa(int(b)))
	}
	tok, err := token.New([]byte(`{"bos_token":"","eos_token":"<|im_end|>","bos":-1,"eos":[257],"tokenizer":{"added_tokens":[` +
		`{"id":256,"content":"<|im_start|>","special":true},{"id":257,"content":"<|im_end|>","special":true}],` +
		`"pre_tokenizer":{"type":"ByteLevel","add_prefix_space":false},"model":{"type":"BPE","vocab":{` + vocab.String() + `},"merges":[]}}}`))
	if err != nil {
		t.Fatal(err)
	}
	return tok
}

func itoa(n int) string {
	if n < 10 {
		return string(rune('0' + n))
	}
	return itoa(n/10) + string(rune('0'+n%10))
}

const chatML = `{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>' + '\n' }}{% endfor %}` +
	`{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}`

func encoder(t testing.TB, template string, maxContext int) (*rows.Encoder, *token.Tokenizer) {
	t.Helper()
	tok := byteTokenizer(t)
	tpl, err := token.ParseTemplate(template)
	if err != nil {
		t.Fatal(err)
	}
	spec := engine.DefaultSpec("GRPO")
	spec.MaxContextLength = maxContext
	return rows.NewEncoder(tok, tpl, &spec), tok
}

func encodeOne(t testing.TB, e *rows.Encoder, fields string) (rows.EncodedSample, error) {
	t.Helper()
	g, err := rows.ParseGroup([]byte(`{"samples":[{"evals":{"score":0.5},`+fields+`}]}`), 3)
	if err != nil {
		t.Fatal(err)
	}
	out, err := e.Encode(g)
	if err != nil {
		return rows.EncodedSample{}, err
	}
	return out.Samples[0], nil
}

// marked writes a sample with the scored tokens in brackets.
func marked(tok *token.Tokenizer, s rows.EncodedSample) string {
	var b strings.Builder
	for i, id := range s.IDs {
		if s.Scored[i] && (i == 0 || !s.Scored[i-1]) {
			b.WriteByte('[')
		}
		b.WriteString(tok.TokenBytes(id))
		if s.Scored[i] && (i+1 == len(s.IDs) || !s.Scored[i+1]) {
			b.WriteByte(']')
		}
	}
	return b.String()
}

const (
	turn  = `"messages":[{"role":"user","content":"q"},{"role":"assistant","content":"Hello!"}]`
	front = "<|im_start|>user\nq<|im_end|>\n<|im_start|>assistant\n"
)

func TestScoredTokens(t *testing.T) {
	e, tok := encoder(t, chatML, 8192)
	for _, c := range []struct{ name, fields, want string }{
		{"default", turn, front + "[Hello!<|im_end|>]\n"},
		{"length", turn + `,"finish_reason":"length"`, front + "[Hello!]<|im_end|>\n"},
		{"stop", turn + `,"finish_reason":"stop"`, front + "[Hello!<|im_end|>]\n"},
		{"last of two", `"messages":[{"role":"user","content":"a"},{"role":"assistant","content":"b"},{"role":"user","content":"c"},{"role":"assistant","content":"d"}]`,
			"<|im_start|>user\na<|im_end|>\n<|im_start|>assistant\nb<|im_end|>\n<|im_start|>user\nc<|im_end|>\n<|im_start|>assistant\n[d<|im_end|>]\n"},
		{"weights", `"messages":[{"role":"user","content":"a"},{"role":"assistant","content":"b","weight":1},{"role":"user","content":"c"},{"role":"assistant","content":"d"}]`,
			"<|im_start|>user\na<|im_end|>\n<|im_start|>assistant\n[b<|im_end|>]\n<|im_start|>user\nc<|im_end|>\n<|im_start|>assistant\n[d<|im_end|>]\n"},
		{"weight 0 last", `"messages":[{"role":"user","content":"a"},{"role":"assistant","content":"b","weight":1},{"role":"user","content":"c"},{"role":"assistant","content":"d","weight":0}]`,
			"<|im_start|>user\na<|im_end|>\n<|im_start|>assistant\n[b<|im_end|>]\n<|im_start|>user\nc<|im_end|>\n<|im_start|>assistant\nd<|im_end|>\n"},
		{"all weights 0", `"messages":[{"role":"user","content":"q"},{"role":"assistant","content":"x","weight":0}]`, front + "x<|im_end|>\n"},
		{"empty answer", `"messages":[{"role":"user","content":"q"},{"role":"assistant","content":""}]`, front + "[<|im_end|>]\n"},
		{"nothing behind the end", `"messages":[{"role":"user","content":"q"},{"role":"assistant","content":"a<|im_end|>b"}]`, front + "[a<|im_end|>]b<|im_end|>\n"},
	} {
		s, err := encodeOne(t, e, c.fields)
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		if got := marked(tok, s); got != c.want {
			t.Errorf("%s:\n got %q\nwant %q", c.name, got, c.want)
		}
		if s.Logprobs != nil || s.Reward != 0.5 || s.Cut {
			t.Errorf("%s: %+v", c.name, s)
		}
	}
}

func TestSampledTokens(t *testing.T) {
	e, tok := encoder(t, chatML, 8192)
	s, err := encodeOne(t, e, turn+`,"token_ids":[113,72,105,257],"logprobs":[-0.5,null,-0.25]`)
	if err != nil {
		t.Fatal(err)
	}
	if got := marked(tok, s); got != "q[H]i[<|im_end|>]" || s.Prompt != 1 {
		t.Errorf("%q, prompt %d", got, s.Prompt)
	}
	if s.Logprobs[1] != -0.5 || s.Logprobs[3] != -0.25 || !math.IsNaN(s.Logprobs[0]) || !math.IsNaN(s.Logprobs[2]) {
		t.Errorf("logprobs %v", s.Logprobs)
	}
	s, err = encodeOne(t, e, turn+`,"token_ids":[113,72,257],"logprobs":[-0.5,-1],"finish_reason":"length"`)
	if got := marked(tok, s); err != nil || got != "q[H]<|im_end|>" || !math.IsNaN(s.Logprobs[2]) {
		t.Errorf("cut short: %q %v %v", got, s.Logprobs, err)
	}
	prompt := itoas(tok.Encode(front, false))
	s, err = encodeOne(t, e, turn+`,"token_ids":[`+prompt+`,72,105]`)
	if got := marked(tok, s); err != nil || got != front+"[Hi]" {
		t.Errorf("ids alone: %q %v", got, err)
	}
	s, err = encodeOne(t, e, turn+`,"logprobs":[-1,-2,-3,-4,-5,-6,-7]`)
	if err != nil || s.Logprobs[s.Prompt] != -1 || s.Logprobs[s.Prompt+6] != -7 || !math.IsNaN(s.Logprobs[s.Prompt+7]) {
		t.Errorf("logprobs alone: %v %v", s.Logprobs, err)
	}
}

func itoas(ids []int32) string {
	var parts []string
	for _, id := range ids {
		parts = append(parts, itoa(int(id)))
	}
	return strings.Join(parts, ",")
}

func TestEncodeProblems(t *testing.T) {
	thinking := strings.Replace(chatML, "m['content']", "(m['content'].split('</t>')[-1] if not loop.last else m['content'])", 1)
	for _, c := range []struct{ name, template, fields, rule, key string }{
		{"other prompt", chatML, turn + `,"token_ids":[1,2,3]`, rows.RuleTokensPrompt, "token_ids"},
		{"id too large", chatML, turn + `,"token_ids":[999999],"logprobs":[-1]`, rows.RuleTokens, "token_ids"},
		{"too few logprobs", chatML, turn + `,"logprobs":[-1]`, rows.RuleLogprobs, "logprobs"},
		{"too many logprobs", chatML, turn + `,"logprobs":[-1,-1,-1,-1,-1,-1,-1,-1,-1]`, rows.RuleLogprobs, "logprobs"},
		{"not a prefix", thinking, `"messages":[{"role":"user","content":"a"},{"role":"assistant","content":"x</t>b","weight":1},{"role":"user","content":"c"},{"role":"assistant","content":"d"}]`,
			rows.RuleNotPrefix, "messages"},
		{"refused", "{{ raise_exception('never') }}", turn, "template-refused", "messages"},
	} {
		e, _ := encoder(t, c.template, 8192)
		_, err := encodeOne(t, e, c.fields)
		var p *engine.Problem
		if !errors.As(err, &p) || p.Rule != c.rule || p.Key != c.key || p.Line != 3 || p.Sample != 1 {
			t.Errorf("%s: %#v", c.name, err)
		}
	}
}

func TestTruncation(t *testing.T) {
	e, tok := encoder(t, chatML, 22)
	s, err := encodeOne(t, e, turn)
	if err != nil || !s.Cut || len(s.IDs) != 22 || len(s.Scored) != 22 || s.Prompt != 20 || !strings.HasSuffix(marked(tok, s), "assistant\n[He]") {
		t.Errorf("%q %+v %v", marked(tok, s), s, err)
	}
}

func TestPromptSharedByRow(t *testing.T) {
	e, _ := encoder(t, chatML, 8192)
	g, err := rows.ParseGroup([]byte(`{"samples":[{`+turn+`,"evals":{"score":1}},{`+strings.Replace(turn, "Hello!", "Bye", 1)+`,"evals":{"score":0}}]}`), 1)
	if err != nil {
		t.Fatal(err)
	}
	out, err := e.Encode(g)
	if err != nil {
		t.Fatal(err)
	}
	a, b := out.Samples[0], out.Samples[1]
	if a.Prompt != b.Prompt || !reflect.DeepEqual(a.IDs[:a.Prompt], b.IDs[:b.Prompt]) {
		t.Errorf("prompts differ: %v, %v", a.IDs[:a.Prompt], b.IDs[:b.Prompt])
	}
}

// TestPreferencesEncode: the answers behind the shared prompt are scored, and
// only the methods of pairs take such rows; SFT asks for no reward.
func TestPreferencesEncode(t *testing.T) {
	tok := byteTokenizer(t)
	tpl, err := token.ParseTemplate(chatML)
	if err != nil {
		t.Fatal(err)
	}
	g, err := rows.ParseGroup([]byte(`{"input":{"messages":[{"role":"user","content":"q"}]},"preferred_output":[{"role":"assistant","content":"yes","weight":0}],`+
		`"non_preferred_output":[{"role":"assistant","content":"no"}]}`), 1)
	if err != nil {
		t.Fatal(err)
	}
	for method, ok := range map[string]bool{"DPO": true, "ORPO": true, "SFT": false, "GRPO": false, "PPO": false} {
		spec := engine.DefaultSpec(method)
		out, err := rows.NewEncoder(tok, tpl, &spec).Encode(g)
		if (err == nil) != ok {
			t.Errorf("%s: %v", method, err)
		}
		if err != nil {
			continue
		}
		if a, b := marked(tok, out.Samples[0]), marked(tok, out.Samples[1]); a != front+"[yes<|im_end|>]\n" || b != front+"[no<|im_end|>]\n" ||
			out.Samples[0].Reward != 1 || out.Samples[1].Reward != 0 {
			t.Errorf("%s: %q %q", method, a, b)
		}
	}
	plain, err := rows.ParseGroup([]byte("{"+turn+"}"), 1)
	if err != nil {
		t.Fatal(err)
	}
	spec := engine.DefaultSpec("SFT")
	if out, err := rows.NewEncoder(tok, tpl, &spec).Encode(plain); err != nil || marked(tok, out.Samples[0]) != front+"[Hello!<|im_end|>]\n" {
		t.Errorf("%v", err)
	}
}

// TestCompletionEncodes: no template; the completion and the token that ends it
// are scored, once, and ids of a sampler are taken as they are.
func TestCompletionEncodes(t *testing.T) {
	tok := byteTokenizer(t)
	tpl, err := token.ParseTemplate(`{{ raise_exception('no template is needed') }}`)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ method, row, want string }{
		{"SFT", `{"prompt":"a\n","completion":"b\u0063"}`, "a\n[bc<|im_end|>]"},
		{"SFT", `{"prompt":"","completion":"b"}`, "[b<|im_end|>]"},
		{"SFT", `{"prompt":"a","completion":"b<|im_end|>c"}`, "a[b<|im_end|>]c"},
		{"SFT", `{"prompt":"a","completion":"b","finish_reason":"length"}`, "a[b]<|im_end|>"},
		{"SFT", `{"prompt":"a","completion":"bc","token_ids":[97,98,257]}`, "a[b<|im_end|>]"},
		{"SFT", `{"prompt":"a","completion":"bc","logprobs":[null,-1,-1]}`, "ab[c<|im_end|>]"},
		{"GRPO", `{"prompt":"a","completion":"bc","token_ids":[97,98,99],"logprobs":[-1,-2],"reward":1}`, "a[bc]"},
		{"GRPO", `{"prompt":"a","completion":"b"}`, ""},
		{"DPO", `{"prompt":"a","completion":"b"}`, ""},
		{"SFT", `{"prompt":"a","completion":"b","token_ids":[98,98]}`, ""},
	} {
		g, err := rows.ParseGroup([]byte(c.row), 1)
		if err != nil {
			t.Errorf("%s: %v", c.row, err)
			continue
		}
		spec := engine.DefaultSpec(c.method)
		out, err := rows.NewEncoder(tok, tpl, &spec).Encode(g)
		switch {
		case c.want == "":
			var p *engine.Problem
			if !errors.As(err, &p) || p.Line != 1 {
				t.Errorf("%s of %s: %v", c.method, c.row, err)
			}
		case err != nil:
			t.Errorf("%s: %v", c.row, err)
		default:
			if got := marked(tok, out.Samples[0]); got != c.want {
				t.Errorf("%s: %q, want %q", c.row, got, c.want)
			}
		}
	}
}
