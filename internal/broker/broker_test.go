package broker_test

import (
	"bytes"
	"fmt"
	"io"
	"iter"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync"
	"testing"

	"github.com/firekeep/firekeep/internal/broker"
	"github.com/firekeep/firekeep/internal/sandbox"
	"github.com/firekeep/firekeep/internal/wire"
)

var program *sandbox.Program

func TestMain(m *testing.M) {
	sandbox.Init()
	os.Exit(run(m))
}

// run builds the engine; the tests talk to the real program in the real sandbox.
func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "firekeep-broker")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	if program, err = buildEngine(filepath.Join(dir, "firekeep-engine")); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return m.Run()
}

func buildEngine(path string) (*sandbox.Program, error) {
	build := exec.Command("go", "build", "-o", path, "github.com/firekeep/firekeep/cmd/firekeep-engine")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("%w\n%s", err, out)
	}
	return sandbox.OpenProgram(path)
}

func host(t *testing.T) *broker.Host {
	return &broker.Host{Launcher: sandbox.NewWith(sandbox.Options{GVisor: os.Getenv("FIREKEEP_RUNSC")}), Engine: program, Build: "test", Log: slog.New(slog.NewTextHandler(t.Output(), nil))}
}

// start starts an engine child that the test's end closes.
func start(t *testing.T, o broker.Options) *broker.Child {
	t.Helper()
	h := host(t)
	if o.Name == "" {
		o.Name = "test"
	}
	c, err := h.Start(t.Context(), o)
	if err != nil {
		t.Fatalf("start: %v (%v)", err, cause(err))
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func cause(err error) error {
	if u, ok := err.(interface{ Unwrap() error }); ok {
		return u.Unwrap()
	}
	return nil
}

func files(list ...broker.File) iter.Seq2[broker.File, error] {
	return func(yield func(broker.File, error) bool) {
		for _, f := range list {
			if !yield(f, nil) {
				return
			}
		}
	}
}

func file(name string, data []byte) broker.File {
	return broker.File{Name: name, Size: int64(len(data)), Body: bytes.NewReader(data)}
}

func demoGGUF(t *testing.T) []byte {
	t.Helper()
	path := os.Getenv("FIREKEEP_DEMO_GGUF")
	if path == "" {
		_, here, _, _ := runtime.Caller(0)
		path = filepath.Join(filepath.Dir(here), "../../.cache/demo/SmolLM2-135M-Instruct.Q4_1.gguf")
	}
	b, err := os.ReadFile(path)
	if err != nil {
		if os.Getenv("FIREKEEP_WITHOUT_ORACLES") == "1" {
			t.Skip("FIREKEEP_WITHOUT_ORACLES=1: the demo model is absent")
		}
		t.Fatalf("the demo model is absent (make fetches it, FIREKEEP_DEMO_GGUF names it): %v", err)
	}
	return b
}

// prepared is the demo model, imported once by an engine child.
var prepared = struct {
	sync.Once
	done wire.ImportDone
	file *os.File
	err  error
}{}

// onlyToRead opens a file again, as children get it.
func onlyToRead(f *os.File) (*os.File, error) {
	defer f.Close()
	return os.Open(fmt.Sprintf("/proc/self/fd/%d", f.Fd()))
}

func demoWeights(t *testing.T) (*broker.Weights, wire.ImportDone) {
	t.Helper()
	prepared.Do(func() {
		gguf := demoGGUF(t)
		c := start(t, broker.Options{Name: "import"})
		if prepared.file, prepared.err = os.CreateTemp("", "firekeep-prepared"); prepared.err != nil {
			return
		}
		os.Remove(prepared.file.Name())
		if prepared.done, prepared.err = c.Import(t.Context(), wire.ImportTask{Name: "demo", Expects: 1}, files(file("demo.gguf", gguf)), prepared.file); prepared.err == nil {
			prepared.file, prepared.err = onlyToRead(prepared.file)
		}
	})
	if prepared.err != nil {
		t.Fatalf("import: %v", prepared.err)
	}
	return &broker.Weights{File: prepared.file, Size: prepared.done.Size, Digest: prepared.done.SHA256}, prepared.done
}

func TestImportDemoModel(t *testing.T) {
	w, done := demoWeights(t)
	if done.Config.Layers != 30 || done.Config.Hidden != 576 || done.Config.Name != "demo" || !done.HasChat {
		t.Errorf("config %+v", done.Config)
	}
	head := make([]byte, 6)
	if _, err := io.ReadFull(io.NewSectionReader(w.File, 0, w.Size), head); err != nil || string(head) != "FKPREP" {
		t.Errorf("prepared file begins with %q, %v", head, err)
	}
}
