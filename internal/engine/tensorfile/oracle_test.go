package tensorfile

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/firekeep/firekeep/internal/engine"
)

// oracle runs a script of testdata with the venv's Python.
func oracle(t *testing.T, into any, args ...string) {
	t.Helper()
	python := os.Getenv("FIREKEEP_PYTHON")
	if python == "" {
		python = filepath.Join(root(), ".venv/bin/python")
	}
	if _, err := os.Stat(python); err != nil {
		if os.Getenv("FIREKEEP_WITHOUT_ORACLES") == "1" {
			t.Skip("FIREKEEP_WITHOUT_ORACLES=1: Python is absent")
		}
		t.Fatalf("Python is absent (make installs it, FIREKEEP_PYTHON names it): %v", err)
	}
	cmd := exec.Command(python, args...)
	cmd.Dir = "testdata"
	var out, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &stderr
	if err := cmd.Run(); err != nil {
		t.Fatalf("%v: %v\n%s", args, err, stderr.String())
	}
	if err := json.Unmarshal(out.Bytes(), into); err != nil {
		t.Fatal(err)
	}
}

type dequantised map[string]struct {
	Type, SHA256 string
	Shape        []int
}

func compareGGUF(t *testing.T, file []byte, want dequantised) {
	t.Helper()
	g, err := ReadGGUF(file)
	if err != nil {
		t.Fatal(err)
	}
	if len(g.Tensors) != len(want) {
		t.Errorf("%d tensors, want %d", len(g.Tensors), len(want))
	}
	for _, x := range g.Tensors {
		n := 1
		for _, d := range x.Shape {
			n *= d
		}
		values := make([]float32, n)
		x.Float32(values, 0)
		b := make([]byte, 4*n)
		for i, v := range values {
			binary.LittleEndian.PutUint32(b[4*i:], math.Float32bits(v))
		}
		sum := sha256.Sum256(b)
		w := want[x.Name]
		if hex.EncodeToString(sum[:]) != w.SHA256 || x.Type != w.Type || !reflect.DeepEqual(x.Shape, w.Shape) {
			t.Errorf("%s %s %v: its values differ from the gguf package's (%s %v)", x.Name, x.Type, x.Shape, w.Type, w.Shape)
		}
	}
}

func TestDequantiseDemo(t *testing.T) {
	file := demoGGUF(t)
	path := filepath.Join(t.TempDir(), "demo.gguf")
	if err := os.WriteFile(path, file, 0o600); err != nil {
		t.Fatal(err)
	}
	var want dequantised
	oracle(t, &want, "oracle_gguf.py", path)
	compareGGUF(t, file, want)
}

func TestDequantiseEveryType(t *testing.T) {
	path := filepath.Join(t.TempDir(), "all.gguf")
	var want dequantised
	oracle(t, &want, "oracle_gguf.py", "--make", path)
	file, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	compareGGUF(t, file, want)
}

// directory reads the files of a Hugging Face directory.
func directory(t *testing.T, dir string) map[string][]byte {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	files := map[string][]byte{}
	for _, e := range entries {
		if files[e.Name()], err = os.ReadFile(filepath.Join(dir, e.Name())); err != nil {
			t.Fatal(err)
		}
	}
	return files
}

func TestHuggingFaceDirectories(t *testing.T) {
	dir, specs := t.TempDir(), []string{"float32,1,0,none", "float16,0,1,linear", "bfloat16,0,0,llama3"}
	var want map[string]map[string][]float32
	oracle(t, &want, append([]string{"oracle_hf.py", dir}, specs...)...)
	for _, spec := range specs {
		t.Run(spec, func(t *testing.T) {
			p, info, err := prepare(t, directory(t, filepath.Join(dir, spec)))
			if err != nil {
				t.Fatal(err)
			}
			config, rope := p.Config(), spec[strings.LastIndexByte(spec, ',')+1:]
			// 61 is the tokeniser's </s>, which neither config names.
			if config.RopeTheta != 20000 || config.Tied != strings.Contains(spec, "float32,1") || config.BOS != 1 ||
				!reflect.DeepEqual(config.EOS, []int32{2, 3, 61}) ||
				(config.RopeScaling == nil) != (rope == "none") || config.RopeScaling != nil && config.RopeScaling.Type != rope {
				t.Errorf("config %+v", config)
			}
			if info.Parameters != p.Parameters() || p.ChatTemplate() != "{{ messages[0].content }}" || !json.Valid(p.Tokenizer()) {
				t.Errorf("info %+v, template %q", info, p.ChatTemplate())
			}
			comparePrepared(t, p, want[spec])
		})
	}
	t.Run("refusals", func(t *testing.T) { refusals(t, filepath.Join(dir, specs[1])) })
}

// comparePrepared unpacks every tensor and compares it with PyTorch's.
func comparePrepared(t *testing.T, p *Prepared, want map[string][]float32) {
	t.Helper()
	config := p.Config()
	for _, e := range tensorPlan(&config) {
		var got []float32
		if e.N == 0 {
			got, _ = p.Vector(e.Name)
		} else {
			w, err := p.Packed(e.Name)
			if err != nil {
				t.Fatal(err)
			}
			got = make([]float32, e.N*e.K)
			for i := range e.N {
				w.Row(got[i*e.K:(i+1)*e.K], i)
			}
		}
		if !reflect.DeepEqual(got, want[hfName(&config, e.Name)]) {
			t.Errorf("%s differs from PyTorch's %s", e.Name, hfName(&config, e.Name))
		}
	}
}

// refusals breaks a sharded directory in every way that import must name.
func refusals(t *testing.T, dir string) {
	config := func(old, with string) func(map[string][]byte) {
		return func(f map[string][]byte) {
			was := string(f["config.json"])
			f["config.json"] = []byte(strings.Replace(was, old, with, 1))
			if was == string(f["config.json"]) {
				t.Fatalf("config.json has no %s", old)
			}
		}
	}
	for _, c := range []struct {
		name   string
		change func(map[string][]byte)
		rule   string
		names  string
	}{
		{"architecture", config("LlamaForCausalLM", "MambaForCausalLM"), "unsupported-architecture", "MambaForCausalLM"},
		{"bias", config(`"attention_bias": false`, `"attention_bias": true`), "unsupported-bias", "attention_bias"},
		{"activation", config(`"silu"`, `"gelu"`), "unsupported-activation", "gelu"},
		{"rope", config(`"rope_type": "linear"`, `"rope_type": "yarn"`), "unsupported-rope", "yarn"},
		{"shape", config(`"intermediate_size": 80`, `"intermediate_size": 81`), "wrong-shape", "[80 48]; the configuration requires [81 48]"},
		{"layer missing", config(`"num_hidden_layers": 3`, `"num_hidden_layers": 4`), "missing-tensor", "model.layers.3.input_layernorm.weight"},
		{"huge", config(`"num_hidden_layers": 3`, `"num_hidden_layers": 1000000000`), "bad-config", "layers"},
		{"no tokenizer", func(f map[string][]byte) { delete(f, "tokenizer.json") }, "missing-tokenizer", "tokenizer.json"},
		{"shard missing", func(f map[string][]byte) { delete(f, shard(f)) }, "missing-file", "safetensors"},
		{"truncated", func(f map[string][]byte) { s := shard(f); f[s] = f[s][:len(f[s])-5] }, "truncated-file", "safetensors"},
		{"pickle", func(f map[string][]byte) {
			for name := range f {
				if strings.Contains(name, "safetensors") {
					delete(f, name)
				}
			}
			f["pytorch_model.bin"] = []byte("x")
		}, "pickle", "pytorch_model.bin"},
		{"nothing", func(f map[string][]byte) { clear(f) }, "missing-file", "config.json"},
		{"not finite", func(f map[string][]byte) { s := shard(f); copy(f[s][len(f[s])-2:], "\x00\x7e") }, "bad-values", "model"},
	} {
		files := directory(t, dir)
		c.change(files)
		_, _, err := prepare(t, files)
		p, ok := err.(*engine.Problem)
		if !ok || p.Rule != c.rule || !strings.Contains(p.Error(), c.names) {
			t.Errorf("%s: %v; want rule %s naming %q", c.name, err, c.rule, c.names)
		}
	}
}

// shard is the name of the first shard.
func shard(files map[string][]byte) string {
	for name := range files {
		if strings.HasPrefix(name, "model-00001") {
			return name
		}
	}
	return ""
}
