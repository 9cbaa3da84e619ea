package token_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/firekeep/firekeep/internal/engine/tensorfile"
	"github.com/firekeep/firekeep/internal/engine/token"
)

// fromRepository finds what an oracle needs: by environment, else by path in
// the repository. Without it the test fails, unless oracles are switched off.
func fromRepository(t testing.TB, env, path string) string {
	t.Helper()
	if p := os.Getenv(env); p != "" {
		return p
	}
	p, _ := filepath.Abs(filepath.Join("../../..", path))
	if _, err := os.Stat(p); err != nil {
		if os.Getenv("FIREKEEP_WITHOUT_ORACLES") == "1" {
			t.Skip("FIREKEEP_WITHOUT_ORACLES=1: " + path + " is absent")
		}
		t.Fatalf("%s is absent; make installs it, %s names another place", path, env)
	}
	return p
}

func python(t testing.TB) string { return fromRepository(t, "FIREKEEP_PYTHON", ".venv/bin/python") }
func demoGGUF(t testing.TB) string {
	return fromRepository(t, "FIREKEEP_DEMO_GGUF", ".cache/demo/SmolLM2-135M-Instruct.Q4_1.gguf")
}

// oracle runs a script of testdata and decodes its answer.
func oracle(t testing.TB, stdin any, into any, args ...string) {
	t.Helper()
	cmd := exec.Command(python(t), args...)
	cmd.Dir = "testdata"
	var out, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &stderr
	if stdin != nil {
		b, err := json.Marshal(stdin)
		if err != nil {
			t.Fatal(err)
		}
		cmd.Stdin = bytes.NewReader(b)
	}
	if err := cmd.Run(); err != nil {
		t.Fatalf("%v: %v\n%s", args, err, stderr.String())
	}
	if err := json.Unmarshal(out.Bytes(), into); err != nil {
		t.Fatalf("%v: %v", args, err)
	}
}

type tokenCase struct {
	Text, Decoded, Skipped string
	IDs, Special           []int32
}

// demoTokenizer is the tokeniser that an import of the demo model stores.
func demoTokenizer(t testing.TB) (*token.Tokenizer, string) {
	t.Helper()
	return importedTokenizer(t, demoGGUF(t))
}

// importedTokenizer is the tokeniser, and the template, that an import of a
// GGUF file stores.
func importedTokenizer(t testing.TB, path string) (*token.Tokenizer, string) {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var src tensorfile.Source
	if err := src.Add(context.Background(), "demo.gguf", -1, f); err != nil {
		t.Fatal(err)
	}
	var blob []byte
	var template string
	stop := fmt.Errorf("far enough")
	_, err = tensorfile.Prepare(context.Background(), &src, io.Discard, tensorfile.Options{Check: func(b []byte, tmpl string) error {
		blob, template = b, tmpl
		return stop
	}})
	if err != stop {
		t.Fatal(err)
	}
	tok, err := token.New(blob)
	if err != nil {
		t.Fatal(err)
	}
	return tok, template
}

func TestIDsEqualHuggingFace(t *testing.T) {
	count := "2500"
	if testing.Short() {
		count = "400"
	}
	for _, kind := range []string{"gguf", "llama3", "qwen", "gpt4o", "plain", "llama2", "gemma", "metaspace", "words", "scores"} {
		t.Run(kind, func(t *testing.T) {
			args := []string{"oracle_tokens.py", kind, count}
			scored := filepath.Join(t.TempDir(), "scores.gguf")
			if kind == "gguf" {
				args = append(args, demoGGUF(t))
			}
			if kind == "scores" {
				args = append(args, scored)
			}
			var got struct {
				Tokenizer string
				Cases     []tokenCase
			}
			oracle(t, nil, &got, args...)
			tok, err := token.New([]byte(got.Tokenizer))
			if err != nil {
				t.Fatal(err)
			}
			compareTokens(t, tok, got.Cases)
			if kind == "gguf" {
				tok, _ = demoTokenizer(t)
				compareTokens(t, tok, got.Cases)
			}
			if kind == "scores" {
				tok, _ = importedTokenizer(t, scored)
				compareTokens(t, tok, got.Cases)
			}
		})
	}
}

func compareTokens(t *testing.T, tok *token.Tokenizer, cases []tokenCase) {
	t.Helper()
	wrong := 0
	for _, c := range cases {
		ids := tok.Encode(c.Text, false)
		if !slices.Equal(ids, c.IDs) {
			t.Errorf("%q: ids %v, Hugging Face %v", c.Text, ids, c.IDs)
			wrong++
		}
		if special := tok.Encode(c.Text, true); !slices.Equal(special, c.Special) {
			t.Errorf("%q: with special tokens %v, Hugging Face %v", c.Text, special, c.Special)
			wrong++
		}
		if text := tok.Decode(c.IDs, false); text != c.Decoded {
			t.Errorf("%v: text %q, Hugging Face %q", c.IDs, text, c.Decoded)
			wrong++
		}
		if len(c.IDs) > 0 {
			if text := tok.Decode(c.IDs[1:], true); text != c.Skipped {
				t.Errorf("%v: text %q, Hugging Face %q", c.IDs[1:], text, c.Skipped)
				wrong++
			}
			wrong += compareStream(t, tok, c.IDs[1:], c.Skipped)
		}
		if wrong > 10 {
			t.Fatal("too many differences")
		}
	}
	t.Logf("%d texts equal", len(cases))
}

func compareStream(t *testing.T, tok *token.Tokenizer, ids []int32, want string) int {
	var b strings.Builder
	d := tok.NewDecoder(true)
	for _, id := range ids {
		b.WriteString(d.Push(id))
	}
	b.WriteString(d.Flush())
	if b.String() != want {
		t.Errorf("%v: streamed text %q, Hugging Face %q", ids, b.String(), want)
		return 1
	}
	return 0
}
