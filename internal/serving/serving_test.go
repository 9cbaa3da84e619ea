package serving_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/firekeep/firekeep/internal/broker"
	"github.com/firekeep/firekeep/internal/e2e/tiny"
	"github.com/firekeep/firekeep/internal/engine"
	"github.com/firekeep/firekeep/internal/engine/model"
	"github.com/firekeep/firekeep/internal/rft"
	"github.com/firekeep/firekeep/internal/sandbox"
	"github.com/firekeep/firekeep/internal/serving"
	"github.com/firekeep/firekeep/internal/wire"
)

// The tests share one engine program and one tiny model, imported by it.
var (
	host     *broker.Host
	weights  string
	imported wire.ImportDone
)

func TestMain(m *testing.M) {
	sandbox.Init()
	os.Exit(run(m))
}

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "firekeep-serving")
	if err == nil {
		defer os.RemoveAll(dir)
		err = setUp(dir)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return m.Run()
}

func setUp(dir string) error {
	path := filepath.Join(dir, "firekeep-engine")
	build := exec.Command("go", "build", "-o", path, "github.com/firekeep/firekeep/cmd/firekeep-engine")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("%w\n%s", err, out)
	}
	program, err := sandbox.OpenProgram(path)
	if err != nil {
		return err
	}
	host = &broker.Host{Launcher: sandbox.New(), Engine: program}
	source := filepath.Join(dir, "model")
	if err := tiny.Write(source, tiny.Default, 1); err != nil {
		return err
	}
	weights = filepath.Join(dir, "prepared")
	return prepare(source)
}

func prepare(source string) error {
	out, err := os.Create(weights)
	if err != nil {
		return err
	}
	defer out.Close()
	child, err := host.Start(context.Background(), broker.Options{Name: "import"})
	if err != nil {
		return err
	}
	defer child.Close()
	names, err := os.ReadDir(source)
	if err != nil {
		return err
	}
	files := func(yield func(broker.File, error) bool) {
		for _, n := range names {
			b, err := os.ReadFile(filepath.Join(source, n.Name()))
			if !yield(broker.File{Name: n.Name(), Size: int64(len(b)), Body: bytes.NewReader(b)}, err) {
				return
			}
		}
	}
	imported, err = child.Import(context.Background(), wire.ImportTask{Name: "tiny", Expects: len(names)}, files, out)
	return err
}

// source serves the tiny model and adapters that differ by their seed, and
// counts what was opened.
type source struct {
	bases, adapters, refused atomic.Int64
	missing                  error
	canaries                 map[string]*engine.Canary // by AdapterID
}

func (s *source) Refuse(_ context.Context, _ serving.Target, err error) error {
	s.refused.Add(1)
	return err
}

func (s *source) OpenBase(context.Context, serving.Target) (serving.Base, error) {
	s.bases.Add(1)
	if s.missing != nil {
		return serving.Base{}, s.missing
	}
	f, err := os.Open(weights)
	return serving.Base{File: f, Size: imported.Size, Digest: imported.SHA256}, err
}

func (s *source) OpenAdapter(_ context.Context, t serving.Target) (serving.Adapter, error) {
	s.adapters.Add(1)
	a, err := adapterOf(t.AdapterID)
	if err != nil {
		return serving.Adapter{}, err
	}
	var config, tensors bytes.Buffer
	if err := a.WritePEFT(&config, &tensors, "tiny"); err != nil {
		return serving.Adapter{}, err
	}
	return serving.Adapter{Config: config.Bytes(), Tensors: tensors.Bytes(), Canary: s.canaries[t.AdapterID]}, nil
}

func adapterOf(id string) (*model.Adapter, error) {
	var seed int64
	if _, err := fmt.Sscanf(id, "sha256:%d", &seed); err != nil {
		return nil, rft.Errorf(rft.KindNotFound, "no such model")
	}
	a, err := model.NewAdapter(&imported.Config, 4, 64, engine.Targets, seed)
	if err != nil {
		return nil, err
	}
	for i, p := range a.Params() {
		for j := range p { // A and B are both far from zero
			p[j] = float32((int64(i*31+j*17)*(seed+3))%97-48) / 200
		}
	}
	return a, nil
}

func router(t *testing.T, s serving.Source, o serving.Options) *serving.Router {
	t.Helper()
	o.MaxContext, o.CacheBytes = 256, 16<<20
	r := serving.NewRouter(host, s, o)
	t.Cleanup(func() { r.Close() })
	return r
}

func target(adapter int) serving.Target {
	t := serving.Target{Account: "main", Base: "accounts/main/models/tiny", BaseDigest: imported.SHA256}
	if adapter > 0 {
		t.Adapter, t.AdapterID = fmt.Sprintf("accounts/main/models/lora-%d", adapter), fmt.Sprintf("sha256:%d", adapter)
	}
	return t
}

func ask(t *testing.T, r *serving.Router, to serving.Target) (string, error) {
	t.Helper()
	hello, text := "hello", ""
	err := r.Generate(t.Context(), to, wire.SampleRequest{Prompt: &hello, MaxTokens: 16, TopP: 1, IgnoreEOS: true}, func(e wire.SampleEvent) error {
		text += e.Text
		return nil
	})
	return text, err
}

func mustAsk(t *testing.T, r *serving.Router, to serving.Target) string {
	t.Helper()
	text, err := ask(t, r, to)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// TestAdaptersOnDemand: one child serves base and adapters, which come and go
// as requests name them, and answers as if it had no other.
func TestAdaptersOnDemand(t *testing.T) {
	s := &source{}
	r := router(t, s, serving.Options{MaxAdapters: 2})
	first := map[int]string{}
	for i := range 4 {
		first[i] = mustAsk(t, r, target(i))
	}
	if first[0] == first[1] || first[1] == first[2] {
		t.Errorf("adapters do not change the answer: %q %q %q", first[0], first[1], first[2])
	}
	var wg sync.WaitGroup
	for i := range 4 {
		wg.Go(func() {
			if again, err := ask(t, r, target(i)); again != first[i] && err == nil {
				t.Errorf("adapter %d: %q, then %q", i, first[i], again)
			} else if err != nil && rft.KindOf(err) != rft.KindResourceExhausted {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if n := s.bases.Load(); n != 1 {
		t.Errorf("%d children for one account and base", n)
	}
	if n := s.adapters.Load(); n < 4 {
		t.Errorf("%d loads, though only two of three adapters fit", n)
	}
	st := r.Status()
	if len(st) != 1 || !st[0].Running || st[0].Adapters > 2 || st[0].Requests != 0 || st[0].Level == "" {
		t.Errorf("status %+v", st)
	}
	if _, err := ask(t, r, serving.Target{Account: "main", Base: target(0).Base, BaseDigest: imported.SHA256, Adapter: "x", AdapterID: "gone"}); rft.KindOf(err) != rft.KindNotFound {
		t.Errorf("an adapter that is not there: %v", err)
	}
}

// TestCrash: a crash costs the requests in work; the next starts another child.
func TestCrash(t *testing.T) {
	s := &source{}
	r := router(t, s, serving.Options{})
	want := mustAsk(t, r, target(1))
	pid := r.Status()[0].Pid
	hello := "hello"
	var once sync.Once
	err := r.Generate(t.Context(), target(1), wire.SampleRequest{Prompt: &hello, N: 64, TopP: 1, IgnoreEOS: true}, func(wire.SampleEvent) (err error) {
		once.Do(func() { err = syscall.Kill(pid, syscall.SIGKILL) })
		return err
	})
	if rft.KindOf(err) != rft.KindUnavailable {
		t.Fatalf("killed: %v", err)
	}
	for {
		got, err := ask(t, r, target(1))
		if rft.KindOf(err) == rft.KindUnavailable { // the old child is still being buried
			continue
		}
		if err != nil || got != want {
			t.Fatalf("after the crash %q, %v; before %q", got, err, want)
		}
		break
	}
	if s.bases.Load() != 2 || s.adapters.Load() != 2 {
		t.Errorf("%d bases and %d adapters were opened", s.bases.Load(), s.adapters.Load())
	}
}

// TestMissingBase: the source's error reaches the request and is not held
// against the next one.
func TestMissingBase(t *testing.T) {
	s := &source{missing: rft.Errorf(rft.KindNotFound, "no such base")}
	r := router(t, s, serving.Options{})
	for range 4 {
		if _, err := ask(t, r, target(0)); rft.KindOf(err) != rft.KindNotFound {
			t.Fatal(err)
		}
	}
	s.missing = nil
	mustAsk(t, r, target(0))
}

// TestQueueIsBounded: what does not fit is refused with a time to try again.
func TestQueueIsBounded(t *testing.T) {
	r := router(t, &source{}, serving.Options{MaxRequests: 1})
	hello := "hello"
	err := r.Generate(t.Context(), target(0), wire.SampleRequest{Prompt: &hello, MaxTokens: 2, TopP: 1}, func(wire.SampleEvent) error {
		_, err := ask(t, r, target(0))
		var busy *serving.Busy
		if rft.KindOf(err) != rft.KindResourceExhausted || !errors.As(err, &busy) || busy.After <= 0 {
			t.Errorf("the second request: %v", err)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestStop: children of another account stay, and a closed router refuses.
func TestStop(t *testing.T) {
	s := &source{}
	r := router(t, s, serving.Options{})
	other := target(0)
	other.Account = "other"
	mustAsk(t, r, target(0))
	mustAsk(t, r, other)
	r.Stop("main", "")
	if st := r.Status(); len(st) != 1 || st[0].Account != "other" {
		t.Errorf("after Stop: %+v", st)
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := ask(t, r, target(0)); rft.KindOf(err) != rft.KindUnavailable {
		t.Errorf("closed: %v", err)
	}
}

// TestIdleChildEnds: nobody asks, nothing runs.
func TestIdleChildEnds(t *testing.T) {
	r := router(t, &source{}, serving.Options{Idle: 20 * time.Millisecond})
	mustAsk(t, r, target(0))
	for len(r.Status()) > 0 {
		time.Sleep(time.Millisecond)
	}
	mustAsk(t, r, target(0))
}

// counted remembers its thread counts.
type counted struct{ n int }

func (c *counted) SetThreads(n int) { c.n = n }

func TestShares(t *testing.T) {
	s := serving.NewShares(8, 0.25)
	var step, other, chat counted
	endStep := s.Step(&step)
	if step.n != 8 {
		t.Errorf("a step alone has %d of 8 cores", step.n)
	}
	endChat := s.Sampling(&chat)
	if step.n != 6 || chat.n != 2 {
		t.Errorf("step %d, sampling %d; want 6 and 2", step.n, chat.n)
	}
	endOther := s.Step(&other)
	if step.n != 3 || other.n != 3 || chat.n != 2 {
		t.Errorf("steps %d and %d, sampling %d; want 3, 3 and 2", step.n, other.n, chat.n)
	}
	endStep()
	endOther()
	if chat.n != 8 {
		t.Errorf("sampling alone has %d of 8 cores", chat.n)
	}
	endChat()
	small := serving.NewShares(1, 0.9)
	defer small.Step(&step)()
	defer small.Sampling(&chat)()
	if step.n != 1 || chat.n != 1 {
		t.Errorf("on one core: step %d, sampling %d", step.n, chat.n)
	}
}
