package rows_test

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/firekeep/firekeep/internal/engine"
	"github.com/firekeep/firekeep/internal/engine/rows"
	"github.com/firekeep/firekeep/internal/engine/tensorfile"
	"github.com/firekeep/firekeep/internal/engine/token"
)

// TestDemoScoresThreeTokens is the golden case of docs/reinforcement.md: the
// demo model's answer "Hello!" scores "Hello", "!" and the end of the turn.
func TestDemoScoresThreeTokens(t *testing.T) {
	path := os.Getenv("FIREKEEP_DEMO_GGUF")
	if path == "" {
		path = filepath.Join("../../..", ".cache/demo/SmolLM2-135M-Instruct.Q4_1.gguf")
	}
	f, err := os.Open(path)
	if err != nil {
		if os.Getenv("FIREKEEP_WITHOUT_ORACLES") == "1" {
			t.Skip("FIREKEEP_WITHOUT_ORACLES=1: the demo model is absent")
		}
		t.Fatal(err)
	}
	defer f.Close()
	var src tensorfile.Source
	if err := src.Add(context.Background(), "demo.gguf", -1, f); err != nil {
		t.Fatal(err)
	}
	var tok *token.Tokenizer
	var template *token.Template
	stop := errors.New("far enough")
	_, err = tensorfile.Prepare(context.Background(), &src, io.Discard, tensorfile.Options{Check: func(blob []byte, source string) error {
		var terr error
		if tok, err = token.New(blob); err != nil {
			return err
		}
		if template, terr = token.ParseTemplate(source); terr != nil {
			return terr
		}
		return stop
	}})
	if err != stop {
		t.Fatal(err)
	}
	spec := engine.DefaultSpec("GRPO")
	g, err := rows.ParseGroup([]byte(`{"samples":[{"messages":[{"role":"user","content":"Hi"},{"role":"assistant","content":"Hello!"}],"evals":{"score":1}}]}`), 1)
	if err != nil {
		t.Fatal(err)
	}
	out, err := rows.NewEncoder(tok, template, &spec).Encode(g)
	if err != nil {
		t.Fatal(err)
	}
	s := out.Samples[0]
	var scored []string
	for i, id := range s.IDs {
		if s.Scored[i] {
			scored = append(scored, tok.TokenBytes(id))
		}
	}
	if len(scored) != 3 || scored[0] != "Hello" || scored[1] != "!" || scored[2] != "<|im_end|>" {
		t.Errorf("scored %q", scored)
	}
	if n := len(s.IDs); s.Scored[n-1] || tok.TokenBytes(s.IDs[n-1]) != "\n" {
		t.Errorf("the newline behind the end of the turn is scored or absent")
	}
}
