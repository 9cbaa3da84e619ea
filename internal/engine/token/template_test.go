package token_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/firekeep/firekeep/internal/engine/token"
)

// specials is a tokeniser that only lends its special tokens to templates.
func specials(t testing.TB) *token.Tokenizer {
	t.Helper()
	tok, err := token.New([]byte(`{"bos_token":"<s>","eos_token":"</s>","unk_token":"<unk>","pad_token":"<pad>","tokenizer":` + tinyTokenizer + `}`))
	if err != nil {
		t.Fatal(err)
	}
	return tok
}

const tinyTokenizer = `{"added_tokens":[],"normalizer":null,"pre_tokenizer":{"type":"ByteLevel","add_prefix_space":false},` +
	`"post_processor":null,"decoder":{"type":"ByteLevel"},"model":{"type":"BPE","vocab":{"a":0,"b":1,"ab":2},"merges":["a b"]}}`

// extraTemplates probe corners of Jinja that the shipped templates leave out.
var extraTemplates = map[string]string{
	"x-loops":      "{% for m in messages if m.role != 'system' %}{{ loop.index }}/{{ loop.length }}{{ loop.first }}{{ loop.last }}{{ loop.revindex0 }}{{ loop.previtem.role if loop.previtem is defined }};{% else %}none{% endfor %}{% for k, v in {'a': 1, 'b': [1, 'x']}.items() %}{{ k }}={{ v }},{% endfor %}",
	"x-scope":      "{% set x = 1 %}{% for i in range(3) %}{{ x }}{% set x = x + i %}{{ x }}{% if i == 1 %}{% continue %}{% endif %}.{% endfor %}{{ x }}{% set ns = namespace(n=0) %}{% for i in range(10) %}{% set ns.n = ns.n + i %}{% if i > 4 %}{% break %}{% endif %}{% endfor %}{{ ns.n }}",
	"x-macro":      "{% macro f(a, b=2, c=a) %}{{ a }}{{ b }}{{ c }}{{ varargs }}{{ kwargs }}{% endmacro %}{{ f(1) }}{{ f(1, c=5) }}{{ f(1, 2, 3, 4, z=1) }}{% macro w(x) %}[{{ caller(x) }}]{% endmacro %}{% call(y) w(3) %}{{ y * 2 }}{% endcall %}",
	"x-strings":    "{{ 'a-b-c'.split('-', 1) }}{{ '  x y  '.split() }}{{ 'abc'[::-1] }}{{ 'abcdef'[1:-1:2] }}{{ 'äöü'[1] }}{{ 'abc'[-1] }}{{ 'Hello World'.title() }}{{ 'x'.center(5, '*') }}{{ 'a,b'.partition(',') }}{{ 'aXbX'.rsplit('X', 1) }}{{ 'ab' in 'cabd' }}{{ 'n\\n\\t\\'q' }}{{ ['it\\'s', \"q\\\"\"] }}{{ 'a' 'b' }}{{ '%s=%d' % ('x', 3) }}{{ '{}-{x}'.format(1, x=2) }}{{ 'l1\\nl2\\r\\nl3'.splitlines() }}{{ 'aAbB'.swapcase() }}{{ 'a'.zfill(3) }}{{ 'xxabxx'.strip('x') }}{{ 'abc'.find('c') }}{{ 'aaa'.count('a') }}{{ 'aa'.replace('a', 'b', 1) }}",
	"x-numbers":    "{{ 7 // 2 }}{{ -7 // 2 }}{{ -7 % 3 }}{{ 7 / 2 }}{{ 2 ** 10 }}{{ 1.0 }}{{ 1e20 }}{{ 1.5e-7 }}{{ 0.1 + 0.2 }}{{ 10 | float }}{{ '3' | int + 1 }}{{ 3.7 | int }}{{ 2.5 | round }}{{ 3.14159 | round(2) }}{{ -3 | abs }}{{ 1 == 1.0 }}{{ true + 1 }}{{ 1 < 2 < 3 }}{{ [3, 1, 2] | sort }}{{ [1, 2] | sum }}{{ [1, 5] | max }}",
	"x-undefined":  "{{ nothing }}{{ nothing is defined }}{{ nothing | default('d') }}{{ messages[99] is defined }}{{ messages[0].nothing }}{{ '' | default('e', true) }}{{ none }}{{ nothing ~ 'x' }}{{ 'a' if false }}{{ nothing | length }}{% for x in nothing %}x{% endfor %}",
	"x-lists":      "{{ [1, 'a', none, true, {'k': 1.5}] }}{{ (1, 2) }}{{ (1,) }}{{ [1, 2, 3][1:] }}{{ [1] + [2] }}{{ [1, 2] | join('-') }}{{ messages | map(attribute='role') | join(',') }}{{ messages | selectattr('role', 'equalto', 'user') | list | length }}{{ messages | rejectattr('role', 'in', ['user']) | map(attribute='role') | list }}{{ [1, 2, 3, 4] | batch(3) | list }}{{ ['b', 'A'] | sort }}{{ ['a', 'a', 'B', 'b'] | unique | list }}{{ [0, 1, none] | select | list }}{{ [[1, 2], [3]] | map('length') | list }}{{ ['x', 'y'] | map('upper') | list }}{{ [1,2]|first }}{{ [1,2]|last }}{{ 'abc'|list }}{{ [3,1]|reverse|list }}{{ 2 in [1, 2] }}{{ 3 not in [1, 2] }}{{ {'b': 1, 'a': 2} | dictsort }}{{ {'a': 1}.get('z', 'no') }}",
	"x-space":      "  {% if true %}\n  a\n  {%- endif %}\n  b  {#- c -#}  \n{%+ if true %} d {% endif +%}\n\te{{- ' f ' -}}  \n g\n{% raw %}{{ x }}{% endraw %}\nh\n   {# comment #}\ni\n{% for x in [1] -%}\n  j\n{%- endfor %}\n\n",
	"x-json":       "{{ {'a': [1, 2.0, none, true], 'ü': '<\\'\"\\\\>\\n\\u0007'} | tojson }}{{ [1, {'x': []}, {}] | tojson(indent=2) }}{{ {'b': 1, 'a': 'é'} | tojson(sort_keys=true, ensure_ascii=true, separators=(',', ':')) }}",
	"x-blocks":     "{% set x %}a{{ 1 }}b{% endset %}{{ x | upper }}{% filter upper %}lower{% endfilter %}{% with a = 1, b = 2 %}{{ a + b }}{% endwith %}{% generation %}g{% endgeneration %}{% set a, b = 1, 2 %}{{ b }}{% set t | trim %}  q  {% endset %}[{{ t }}]",
	"x-tests":      "{% for v in [1, 1.5, 'a', [], {}, none, true, (1,)] %}{{ v is string }}{{ v is number }}{{ v is integer }}{{ v is float }}{{ v is mapping }}{{ v is iterable }}{{ v is sequence }}{{ v is none }}{{ v is boolean }}{{ v is true }}{{ v is callable }}\n{% endfor %}{{ 4 is divisibleby 2 }}{{ 3 is odd }}{{ 1 is sameas 1 }}{{ 'a' is in 'abc' }}{{ 2 is eq 2 }}{{ 'a' is not string }}{{ 1 is not none and true }}",
	"x-items":      "{{ {'items': 1}['items'] }}{{ {'a': 1}.items() | list }}{% for m in messages %}{{ m.keys() | list }}{{ m['role'] }}{{ m.get('content') is none }}{% endfor %}",
	"x-recursive":  "{% for x in [1, [2, [3, 4]], 5] recursive %}{% if x is iterable %}({{ loop(x) }}){% else %}{{ x }}:{{ loop.depth }} {% endif %}{% endfor %}",
	"x-mutation":   "{% set _ = messages.append(1) %}",
	"x-underscore": "{{ messages.__class__ }}",
	"x-safe":       "{{ '<a>' | safe + '<b>' }}{{ '<' | e }}{{ ('<' | safe) ~ '<' }}",
	"x-format":     "{{ 'a b c d' | truncate(5, true, '..', 0) }}{{ 'x\ny' | indent(2) }}{{ 'x\n\ny' | indent(2, true, true) }}{{ 'one two' | wordcount }}{{ 'foo bar' | title }}{{ '%s %s' | format('a', 1) }}{{ 'ab' * 3 }}{{ [1] * 2 }}{{ strftime_now('%d %b %Y %H:%M %j %A %-d') }}",
	"x-raise":      "{{ raise_exception('no') }}",
	"x-dict":       "{% set d = dict(a=1, b=2) %}{{ d }}{{ dict(d, c=3) }}{% set ns = namespace(d, z=9) %}{{ ns.a + ns.z }}{{ d | items | list }}{{ {1: 'x', 1.0: 'y', true: 'z'} }}",
	"x-unary":      "{{ -1 | abs }}{{ not false and true }}{{ 1 + 2 * 3 ** 2 }}{{ -2 ** 2 }}{{ 'a' ~ 1 + 2 }}{{ 2 - 1 - 1 }}{{ 10 // 3 * 3 }}{{ +5 }}",
}

func TestTemplatesEqualTransformers(t *testing.T) {
	var got struct {
		Tools     string
		Chats     map[string]string
		Templates map[string]struct {
			Source string
			Cases  []struct {
				Chat, Text, Error string
				Tools, Prompt     bool
			}
		}
	}
	oracle(t, map[string]any{"extra": extraTemplates}, &got, "oracle_templates.py", demoGGUF(t), vocabularyPath(t))
	tok, rendered, templates := specials(t), 0, 0
	for name, tmpl := range got.Templates {
		t.Run(name, func(t *testing.T) {
			tpl, err := token.ParseTemplate(tmpl.Source)
			wrong, good := 0, 0
			for _, c := range tmpl.Cases {
				var out string
				rerr := err
				if err == nil {
					var tools json.RawMessage
					if c.Tools {
						tools = json.RawMessage(got.Tools)
					}
					out, rerr = tpl.RenderJSON(json.RawMessage(got.Chats[c.Chat]), tools, c.Prompt, tok)
				}
				if (rerr != nil) != (c.Error != "") || rerr == nil && out != c.Text {
					t.Errorf("%s, tools %v, prompt %v:\n got %q %v\nwant %q %s", c.Chat, c.Tools, c.Prompt, out, rerr, c.Text, c.Error)
					if wrong++; wrong > 3 {
						t.FailNow()
					}
				}
				if rerr == nil {
					good++
				}
			}
			if !strings.HasPrefix(name, "x-") && good > 0 {
				templates++
			}
			rendered += good
		})
	}
	if templates < 40 || rendered < 2000 {
		t.Errorf("%d templates with %d renderings were compared; too few to mean anything", templates, rendered)
	}
	t.Logf("%d templates, %d renderings", templates, rendered)
}
