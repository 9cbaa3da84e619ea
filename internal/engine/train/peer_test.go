package train

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync"
	"testing"
	"unsafe"

	"github.com/firekeep/firekeep/internal/engine/kernel"
	"github.com/firekeep/firekeep/internal/engine/model"
	"github.com/firekeep/firekeep/internal/engine/tensorfile"
)

func TestMain(m *testing.M) {
	for _, l := range kernel.Detect() {
		if err := kernel.SelfTest(l); err == nil {
			kernel.Use(l)
			break
		}
	}
	code := m.Run()
	if torch.in != nil {
		torch.in.Close()
		if code != 0 {
			os.Stderr.Write(torch.stderr.Bytes())
		}
	}
	os.RemoveAll(fixtures.dir)
	os.Exit(code)
}

// root is the repository's top directory.
func root() string {
	_, file, _, _ := runtime.Caller(0)
	return filepath.Join(filepath.Dir(file), "../../..")
}

// fromEnv returns the file that the variable names, or the given one below the
// repository's top. Its absence fails the test unless the oracles are switched off.
func fromEnv(t testing.TB, name, otherwise string) string {
	t.Helper()
	path := os.Getenv(name)
	if path == "" {
		path = filepath.Join(root(), otherwise)
	}
	if _, err := os.Stat(path); err != nil {
		if os.Getenv("FIREKEEP_WITHOUT_ORACLES") == "1" {
			t.Skip("FIREKEEP_WITHOUT_ORACLES=1: " + name + " is absent")
		}
		t.Fatalf("%s is absent (make fetches it): %v", name, err)
	}
	return path
}

func python(t testing.TB) string { return fromEnv(t, "FIREKEEP_PYTHON", ".venv/bin/python") }

func demoGGUF(t testing.TB) string {
	return fromEnv(t, "FIREKEEP_DEMO_GGUF", ".cache/demo/SmolLM2-135M-Instruct.Q4_1.gguf")
}

// torch is one oracle.py for all tests: importing PyTorch takes seconds.
var torch struct {
	sync.Mutex
	in     io.WriteCloser
	out    *bufio.Reader
	stderr bytes.Buffer // shown when a test failed
}

// ask sends a request to oracle.py and decodes its answer.
func ask(t testing.TB, answer any, command string, fields map[string]any) {
	t.Helper()
	torch.Lock()
	defer torch.Unlock()
	if torch.in == nil {
		cmd := exec.Command(python(t), "testdata/oracle.py")
		cmd.Stderr = &torch.stderr
		in, err := cmd.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		torch.in, torch.out = in, bufio.NewReaderSize(out, 1<<20)
	}
	request := map[string]any{"command": command}
	for k, v := range fields {
		request[k] = v
	}
	if err := json.NewEncoder(torch.in).Encode(request); err != nil {
		t.Fatal(err)
	}
	line, err := torch.out.ReadBytes('\n')
	if err != nil {
		t.Fatalf("%s: the oracle died: %v", command, err)
	}
	var failure struct{ Error string }
	if err := json.Unmarshal(line, &failure); err != nil || failure.Error != "" {
		t.Fatalf("%s: %s %v", command, failure.Error, err)
	}
	if answer != nil {
		if err := json.Unmarshal(line, answer); err != nil {
			t.Fatal(err)
		}
	}
}

// imported prepares and opens the model at path: a directory or a .gguf file.
func imported(t testing.TB, path string) *model.Model {
	t.Helper()
	m, err := model.Open(prepared(t, path))
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func prepared(t testing.TB, path string) *tensorfile.Prepared {
	t.Helper()
	files := []string{path}
	if info, err := os.Stat(path); err == nil && info.IsDir() {
		files, _ = filepath.Glob(filepath.Join(path, "*"))
	}
	var src tensorfile.Source
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		if err := src.Add(context.Background(), filepath.Base(f), int64(len(b)), bytes.NewReader(b)); err != nil {
			t.Fatal(err)
		}
	}
	var out bytes.Buffer
	if _, err := tensorfile.Prepare(context.Background(), &src, &out, tensorfile.Options{Name: "base"}); err != nil {
		t.Fatal(err)
	}
	p, err := tensorfile.OpenPrepared(aligned(out.Bytes()))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// aligned copies b to an address that OpenPrepared accepts, as a mapping has.
func aligned(b []byte) []byte {
	buf := make([]byte, len(b)+64)
	shift := (64 - int(uintptr(unsafe.Pointer(&buf[0]))%64)) % 64
	return append(buf[shift:shift], b...)
}

// fixtures are made once: the tiny model, and an adapter of PEFT's for each base.
var fixtures struct {
	sync.Mutex
	dir    string
	models map[string]*model.Model
	made   map[string]bool
}

// fixture returns the path of a file or directory that create makes once for
// all tests.
func fixture(t testing.TB, name string, create func(path string)) string {
	t.Helper()
	fixtures.Lock()
	defer fixtures.Unlock()
	if fixtures.made == nil {
		fixtures.made, fixtures.models = map[string]bool{}, map[string]*model.Model{}
		dir, err := os.MkdirTemp("", "firekeep-train-")
		if err != nil {
			t.Fatal(err)
		}
		fixtures.dir = dir
	}
	path := filepath.Join(fixtures.dir, name)
	if !fixtures.made[name] {
		create(path)
		fixtures.made[name] = true
	}
	return path
}

// subject is a base model with an adapter that PEFT wrote.
type subject struct {
	path, adapter string
	model         *model.Model
}

func tinySubject(t testing.TB) subject {
	path := fixture(t, "tiny", func(p string) { ask(t, nil, "make_tiny", map[string]any{"out": p}) })
	return withAdapter(t, "tiny-adapter", path, 4, 0.08)
}

func demoSubject(t testing.TB) subject {
	return withAdapter(t, "demo-adapter", demoGGUF(t), 8, 0.01)
}

func withAdapter(t testing.TB, name, path string, rank int, spread float64) subject {
	adapter := fixture(t, name, func(p string) {
		ask(t, nil, "make_adapter", map[string]any{"model": path, "out": p, "rank": rank, "alpha": 2 * rank, "spread": spread})
	})
	fixtures.Lock()
	defer fixtures.Unlock()
	m := fixtures.models[path]
	if m == nil {
		m = imported(t, path)
		fixtures.models[path] = m
	}
	return subject{path: path, adapter: adapter, model: m}
}

// files returns the adapter's config and tensors.
func (s subject) files(t testing.TB) (config, tensors []byte) {
	t.Helper()
	for name, b := range map[string]*[]byte{"adapter_config.json": &config, "adapter_model.safetensors": &tensors} {
		var err error
		if *b, err = os.ReadFile(filepath.Join(s.adapter, name)); err != nil {
			t.Fatal(err)
		}
	}
	return config, tensors
}

func (s subject) readAdapter(t testing.TB) *model.Adapter {
	t.Helper()
	config, tensors := s.files(t)
	a, err := model.ReadPEFT(&s.model.Config, config, tensors)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// tensors reads a safetensors file of float32.
func tensors(t testing.TB, path string) map[string][]float32 {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	list, _, err := tensorfile.ReadSafetensors(b)
	if err != nil {
		t.Fatal(err)
	}
	out := map[string][]float32{}
	for i := range list {
		if out[list[i].Name], err = list[i].Float32(); err != nil {
			t.Fatal(err)
		}
	}
	if len(out) == 0 {
		t.Fatal(fmt.Errorf("%s holds no tensor", path))
	}
	return out
}
