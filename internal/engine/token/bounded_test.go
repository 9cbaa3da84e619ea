package token_test

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/firekeep/firekeep/internal/engine"
	"github.com/firekeep/firekeep/internal/engine/token"
	"github.com/firekeep/firekeep/internal/engine/token/jinja"
)

// hostileTemplates would run for ever, or fill memory, or leave the sandbox.
var hostileTemplates = map[string]string{
	"loops":      "{% for a in range(100000) %}{% for b in range(100000) %}{% endfor %}{% endfor %}",
	"doubling":   "{% set ns = namespace(s='x') %}{% for i in range(100) %}{% set ns.s = ns.s ~ ns.s %}{% endfor %}{{ ns.s }}",
	"repeat":     "{{ 'x' * 99999999999 }}",
	"list":       "{{ [1] * 99999999999 }}",
	"lists":      "{% set ns = namespace(s=[1]) %}{% for i in range(60) %}{% set ns.s = ns.s + ns.s %}{% endfor %}",
	"output":     "{% for i in range(100000) %}{{ 'y' * 100000 }}{% endfor %}",
	"recursion":  "{% macro f(x) %}{{ f(x) }}{% endmacro %}{{ f(1) }}",
	"tree":       "{% macro f(n) %}{% if n > 0 %}{{ f(n - 1) }}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(50) }}",
	"nested set": "{% set ns = namespace(a=[]) %}{% for i in range(1000) %}{% set ns.a = [ns.a] %}{% endfor %}{{ ns.a }}",
	"compare":    "{% set a = namespace(v=[]) %}{% set b = namespace(v=[]) %}{% for i in range(150) %}{% set a.v = [a.v, a.v] %}{% set b.v = [b.v, b.v] %}{% endfor %}{{ a.v == b.v }}",
	"deep value": "{% set a = namespace(v=[]) %}{% set b = namespace(v=[]) %}{% for i in range(9000) %}{% set a.v = [a.v] %}{% set b.v = [b.v] %}{% endfor %}{{ a.v == b.v }}",
	"width":      "{{ 'x'.ljust(99999999999) }}",
	"replace":    "{% set ns = namespace(s='aaaaaaaaaa') %}{% for i in range(30) %}{% set ns.s = ns.s.replace('a', 'aaaaaaaaaa') %}{% endfor %}",
	"range":      "{{ range(99999999999) | length }}",
	"join":       "{{ range(100000) | join('z' * 1000000) }}",
	"power":      "{{ 9 ** 9 ** 9 }}",
	"include":    "{% include '/etc/passwd' %}",
	"import":     "{% import 'os' as os %}",
	"class":      "{{ ''.__class__.__mro__ }}",
	"deep":       strings.Repeat("(", 5000) + strings.Repeat(")", 5000),
	"deep expr":  "{{ " + strings.Repeat("(", 5000) + "1" + strings.Repeat(")", 5000) + " }}",
	"deep not":   "{{ " + strings.Repeat("not ", 50000) + "1 }}",
	"deep minus": "{{ " + strings.Repeat("-", 50000) + "1 }}",
	"deep list":  "{{ " + strings.Repeat("[", 50000) + " }}",
	"deep if":    strings.Repeat("{% if 1 %}", 5000),
}

func TestHostileTemplates(t *testing.T) {
	tok := specials(t)
	for name, source := range hostileTemplates {
		if name == "deep" { // text only: it must render
			continue
		}
		tpl, err := token.ParseTemplate(source)
		if err == nil {
			tpl.Limits = jinja.Limits{Steps: 1 << 20, Bytes: 64 << 20, Output: 8 << 20}
			_, err = tpl.RenderJSON(json.RawMessage(`[]`), nil, false, tok)
		}
		var p *engine.Problem
		if !errors.As(err, &p) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestTemplateErrorsHideContent: what a template raises is quoted only when the
// template itself says it.
func TestTemplateErrorsHideContent(t *testing.T) {
	tok := specials(t)
	for source, quoted := range map[string]bool{
		"{{ raise_exception('only users') }}":                              true,
		"{{ raise_exception(messages[0].content) }}":                       false,
		"{{ messages[0][messages[0].content].x }}":                         false,
		"{{ {}[messages[0].content] + 1 }}":                                false,
		"{{ messages | map(messages[0].content) | list }}":                 false,
		"{{ messages[0].content + 1 }}":                                    false,
		"{{ messages[0].content.format(a=1) + {} }}":                       false,
		"{{ messages | map(attribute=messages[0].content) | sum }}":        false,
		"{{ (messages[0] | attr(messages[0].content)).x }}":                false,
		"{{ '{' ~ messages[0].content ~ '}' }}{{ ('{canary}').format() }}": false,
	} {
		tpl, err := token.ParseTemplate(source)
		if err != nil {
			t.Fatal(err)
		}
		_, err = tpl.RenderJSON(json.RawMessage(`[{"role":"user","content":"canary"}]`), nil, false, tok)
		if err == nil || strings.Contains(err.Error(), "canary") || strings.Contains(err.Error(), "only users") != quoted {
			t.Errorf("%s: %v", source, err)
		}
	}
}

func TestTokenizerRefusals(t *testing.T) {
	for name, change := range map[string][2]string{
		"model":         {`"BPE"`, `"Unigram"`},
		"merge":         {`"a b"`, `"a z"`},
		"pre-tokenizer": {`{"type":"ByteLevel","add_prefix_space":false}`, `{"type":"Metaspace"}`},
		"no bytes":      {`{"type":"ByteLevel","add_prefix_space":false}`, `{"type":"Digits"}`},
		"no split":      {`{"type":"ByteLevel","add_prefix_space":false}`, `null`},
		"normalizer":    {`"normalizer":null`, `"normalizer":{"type":"Precompiled"}`},
		"decoder":       {`"decoder":{"type":"ByteLevel"}`, `"decoder":{"type":"WordPiece"}`},
		"post":          {`"post_processor":null`, `"post_processor":{"type":"BertProcessing"}`},
		"pattern":       {`{"type":"ByteLevel","add_prefix_space":false}`, `{"type":"Split","pattern":{"Regex":"(?<=a)b"},"behavior":"Isolated"}`},
		"nested":        {`{"type":"ByteLevel","add_prefix_space":false}`, `{"type":"Split","pattern":{"Regex":"(a*)*b"},"behavior":"Isolated"}`},
		"id":            {`"ab":2`, `"ab":-2`},
		"huge id":       {`"ab":2`, `"ab":2000000000`},
		"no model":      {`"model"`, `"modem"`},
	} {
		source := strings.Replace(tinyTokenizer, change[0], change[1], 1)
		if source == tinyTokenizer {
			t.Fatalf("%s changes nothing", name)
		}
		var p *engine.Problem
		if _, err := token.New([]byte(source)); !errors.As(err, &p) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// piecesTokenizer is a tokeniser over characters with some bytes.
const piecesTokenizer = `{"added_tokens":[{"id":9,"content":"[I]","special":true}],"normalizer":{"type":"Sequence","normalizers":[{"type":"Prepend","prepend":"\u2581"},` +
	`{"type":"Replace","pattern":{"String":" "},"content":"\u2581"}]},"pre_tokenizer":null,"post_processor":null,` +
	`"decoder":{"type":"Sequence","decoders":[{"type":"Replace","pattern":{"String":"\u2581"},"content":" "},{"type":"ByteFallback"},{"type":"Fuse"},{"type":"Strip","content":" ","start":1,"stop":0}]},` +
	`"model":{"type":"BPE","unk_token":"<unk>","fuse_unk":true,"byte_fallback":true,"vocab":{"<unk>":0,"a":1,"b":2,"ab":3,"\u2581":4,"\u2581a":5,"<0xC3>":6,"<0xBC>":7,"<0x0A>":8},"merges":["a b","\u2581 a"]}}`

func FuzzTokenizer(f *testing.F) {
	f.Add([]byte(tinyTokenizer), "abba <x> 12")
	f.Add([]byte(strings.Replace(tinyTokenizer, `{"type":"ByteLevel","add_prefix_space":false}`,
		`{"type":"Sequence","pretokenizers":[{"type":"Split","pattern":{"Regex":"(?i:'s|'t)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}|\\s+(?!\\S)|\\s+"},"behavior":"Isolated"},{"type":"Digits"},{"type":"ByteLevel","use_regex":false}]}`, 1)), "Don'T 1234 \n x")
	f.Add([]byte(strings.Replace(tinyTokenizer, `"added_tokens":[]`, `"added_tokens":[{"id":3,"content":" a","lstrip":true,"rstrip":true,"single_word":true,"normalized":true}]`, 1)), "x  a b\xff")
	f.Add([]byte(piecesTokenizer), "ab  ba\nü[I]\xff")
	f.Add([]byte(strings.Replace(piecesTokenizer, `"pre_tokenizer":null`, `"pre_tokenizer":{"type":"Metaspace","replacement":"\u2581","prepend_scheme":"first","split":true}`, 1)), " a b")
	f.Fuzz(func(t *testing.T, file []byte, text string) {
		tok, err := token.New(file)
		var p *engine.Problem
		if err != nil {
			if !errors.As(err, &p) {
				t.Fatalf("%T", err)
			}
			return
		}
		if len(text) > 1000 {
			return
		}
		ids := tok.Encode(text, true)
		d, streamed := tok.NewDecoder(false), ""
		for _, id := range ids {
			if id < 0 || int(id) >= tok.Vocab() && tok.Known(id) {
				t.Fatalf("id %d of %d", id, tok.Vocab())
			}
			streamed += d.Push(id)
		}
		if streamed += d.Flush(); streamed != tok.Decode(ids, false) {
			t.Fatalf("streamed %q, whole %q", streamed, tok.Decode(ids, false))
		}
	})
}

func FuzzTemplate(f *testing.F) {
	for _, source := range extraTemplates {
		f.Add(source)
	}
	for _, source := range hostileTemplates {
		f.Add(source)
	}
	tok := specials(f)
	messages := json.RawMessage(`[{"role":"system","content":"s"},{"role":"user","content":"ü\n"},{"role":"assistant","content":null,"tool_calls":[{"function":{"name":"f","arguments":{"a":1.5}}}]}]`)
	f.Fuzz(func(t *testing.T, source string) {
		tpl, err := token.ParseTemplate(source)
		if err == nil {
			tpl.Limits = jinja.Limits{Steps: 1 << 16, Bytes: 4 << 20, Output: 1 << 20}
			_, err = tpl.RenderJSON(messages, nil, true, tok)
		}
		var p *engine.Problem
		if err != nil && !errors.As(err, &p) {
			t.Fatalf("%T", err)
		}
	})
}
