//go:build linux

package broker_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/firekeep/firekeep/internal/broker"
	"github.com/firekeep/firekeep/internal/rft"
	"github.com/firekeep/firekeep/internal/sandbox"
	"github.com/firekeep/firekeep/internal/sandbox/escapetest"
	"github.com/firekeep/firekeep/internal/wire"
	"golang.org/x/sys/unix"
)

// hostileProgram is testdata/hostile, built once.
var hostileProgram = sync.OnceValues(func() (*sandbox.Program, error) {
	dir, err := os.MkdirTemp("", "firekeep-hostile")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	build := exec.Command("go", "build", "-o", filepath.Join(dir, "hostile"), "./testdata/hostile")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("%w\n%s", err, out)
	}
	return sandbox.OpenProgram(filepath.Join(dir, "hostile"))
})

// order tells the hostile program what to do.
type order struct {
	Play    string           `json:"play"`
	Attempt string           `json:"attempt"`
	Scene   escapetest.Scene `json:"scene"`
}

// kinds are the four ways in which a child is used. Each runs the session that
// a job or a deployment runs and returns its error.
var kinds = []string{"step", "sample", "validate", "import"}

func session(ctx context.Context, c *broker.Child, kind string) error {
	var err error
	switch kind {
	case "step":
		_, _, err = c.Train(ctx, trainInput(), broker.TrainSink{})
	case "sample":
		var s *broker.Sampler
		if s, err = c.StartSampling(ctx, wire.SampleTask{}); err == nil {
			prompt := "x"
			err = s.Generate(ctx, wire.SampleRequest{Prompt: &prompt, N: 1}, func(wire.SampleEvent) error { return nil })
		}
	case "validate":
		_, err = c.Validate(ctx, wire.ValidateTask{Objects: 1}, files(file("a", []byte("{}\n"))), func(wire.Chunk) error { return nil })
	case "import":
		_, err = c.Import(ctx, wire.ImportTask{Expects: 1}, iter.Seq2[broker.File, error](files(file("a", []byte("{}")))), &bytes.Buffer{})
	}
	return err
}

// hostileChild starts the hostile program as a child of that kind and returns
// how the session ended. Its log is returned too.
func hostileChild(t *testing.T, ctx context.Context, kind string, o order, silence time.Duration) (error, *broker.Child, *bytes.Buffer) {
	t.Helper()
	program, err := hostileProgram()
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(o)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "weights")
	if err := os.WriteFile(path, text, 0o644); err != nil {
		t.Fatal(err)
	}
	weights, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer weights.Close()
	log := &bytes.Buffer{}
	h := &broker.Host{Launcher: sandbox.New(), Engine: program, Build: "test", Silence: silence, Grace: 50 * time.Millisecond,
		Log: slog.New(slog.NewTextHandler(log, nil))}
	c, err := h.Start(ctx, broker.Options{Name: kind, MemoryBytes: 256 << 20, Weights: &broker.Weights{File: weights, Size: int64(len(text))}})
	if err != nil {
		return err, nil, log
	}
	t.Cleanup(func() { c.Close() })
	err = session(ctx, c, kind)
	c.Close()
	<-c.Gone()
	return err, c, log
}

// TestHostileChild makes attempts of the escape suite from children of every
// kind, started as jobs and deployments start theirs: one launcher, one wall.
func TestHostileChild(t *testing.T) {
	t.Setenv("SECRET", escapetest.Treasure)
	dir := t.TempDir()
	secret := filepath.Join(dir, "secret")
	if err := os.WriteFile(secret, []byte(escapetest.Treasure), 0o644); err != nil {
		t.Fatal(err)
	}
	fd, err := unix.Open(secret, unix.O_RDONLY, 0) // without close-on-exec, on purpose
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	scene := escapetest.Scene{Parent: os.Getpid(), Victim: os.Getpid(), Dir: dir, Secret: secret, Open: fd, TCP4: 9, UDP: 9, Unix: secret, Abstract: "firekeep"}
	attempts := []string{"secret", "create", "victim memory", "ptrace", "signal parent", "environment", "open descriptor", "exec", "fork", "executable memory",
		"user namespace", "mount", "io_uring", "bpf", "key", "tcp", "dns", "abstract unix", "socket pair", "memory file", "memory bomb", "core dump"}
	for _, kind := range kinds {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			for _, name := range attempts {
				if _, ok := escapetest.Find(name); !ok {
					t.Fatalf("no attempt %q", name)
				}
				err, c, log := hostileChild(t, t.Context(), kind, order{Play: "attempt", Attempt: name, Scene: scene}, 0)
				switch text := fmt.Sprint(err); {
				case err == nil || c == nil || strings.Contains(text, escapetest.Passed):
					t.Errorf("%s: %v", name, err)
				case strings.Contains(text, "system call"):
					if !strings.Contains(log.String(), "bad system call") {
						t.Errorf("%s: the log does not tell: %s", name, log)
					}
				}
			}
		})
	}
}

// TestChildDescriptors: a child has its three pipes and the weights, to read,
// whatever its kind and whatever this process has open.
func TestChildDescriptors(t *testing.T) {
	for _, kind := range kinds {
		err, _, _ := hostileChild(t, t.Context(), kind, order{Play: "descriptors"}, 0)
		if want := "0 pipe in, 1 pipe out, 2 pipe out, 3 file in"; err == nil || err.Error() != want {
			t.Errorf("%s has %v, want %s", kind, err, want)
		}
	}
}

// TestSameLayers: the layers around a step are those around a sampler.
func TestSameLayers(t *testing.T) {
	names := func(kind string) (active []string) {
		_, c, _ := hostileChild(t, t.Context(), kind, order{Play: "descriptors"}, 0)
		for _, l := range c.Report().Layers {
			if l.Active {
				active = append(active, l.Name)
			}
		}
		return active
	}
	first := names(kinds[0])
	for _, must := range []string{sandbox.LayerUser, sandbox.LayerNetwork, sandbox.LayerRoot, sandbox.LayerSeccomp, sandbox.LayerCapabilities, sandbox.LayerNotDumpable} {
		if !slices.Contains(first, must) {
			t.Errorf("a step runs without %s", must)
		}
	}
	for _, kind := range kinds[1:] {
		if got := names(kind); !slices.Equal(got, first) {
			t.Errorf("%s has %q, a step has %q", kind, got, first)
		}
	}
}

// TestHostilePlays: a child that breaks the protocol, lies, hangs or dies ends
// its session with an error that says so, and nothing of its stderr is kept.
func TestHostilePlays(t *testing.T) {
	broke := "the engine broke the protocol: "
	quick := 150 * time.Millisecond
	for _, c := range []struct {
		play, kind string
		silence    time.Duration
		want       rft.Kind
		text       string
	}{
		{"foreign version", "step", 0, rft.KindInternal, broke + "version"},
		{"no hello", "step", 0, rft.KindInternal, broke + "no-hello"},
		{"giant hello", "step", 0, rft.KindInternal, broke + "payload-too-long"},
		{"broken hello", "sample", 0, rft.KindInternal, broke + "bad-json"},
		{"dumb", "step", 0, rft.KindDeadlineExceeded, "the deadline passed"},
		{"gone", "step", 0, rft.KindUnavailable, "the engine was ended from outside"},
		{"bad program", "step", 0, rft.KindInternal, "the engine crashed with exit code 42"},
		{"hang", "step", quick, rft.KindUnavailable, "the engine stopped responding"},
		{"hang", "sample", quick, rft.KindUnavailable, "the engine stopped responding"},
		{"giant frame", "step", 0, rft.KindInternal, broke + "payload-too-long"},
		{"giant frame", "sample", 0, rft.KindInternal, broke + "payload-too-long"},
		{"noise", "step", 0, rft.KindInternal, broke},
		{"slow loris", "step", quick, rft.KindUnavailable, "the engine stopped responding"},
		{"wrong checksum", "step", 0, rft.KindInternal, broke + "bad-checksum"},
		{"cut frame", "step", 0, rft.KindInternal, broke + "short-frame"},
		{"second hello", "step", 0, rft.KindInternal, broke + "second-hello"},
		{"give orders", "step", 0, rft.KindInternal, broke + "wrong-side"},
		{"unknown fields", "step", 0, rft.KindInternal, broke + "bad-json"},
		{"unknown frame", "sample", 0, rft.KindInternal, broke + "unknown-type"},
		{"unannounced data", "step", 0, rft.KindInternal, broke + "unknown-stream"},
		{"false credit", "step", 0, rft.KindInternal, broke + "credit-overflow"},
		{"many streams", "step", 0, rft.KindInternal, broke},
		{"flood", "step", 0, rft.KindInternal, broke},
		{"wrong digest", "step", 0, rft.KindInternal, broke},
		{"wrong size", "step", 0, rft.KindInternal, broke + "stream-too-long"},
		{"stolen stream", "step", 0, rft.KindInternal, broke + "bad-stream"},
		{"message of another task", "step", 0, rft.KindInternal, broke + "unexpected-message"},
		{"done without work", "step", 0, rft.KindInternal, "the engine finished without sending the adapter"},
		{"done and on", "step", 0, rft.KindInternal, ""},
		{"lying digest", "import", 0, rft.KindInternal, "the engine's digest of the prepared weights is not that of the bytes it sent"},
		{"invented error", "step", 0, rft.KindInternal, "log in at"},
		{"loud death", "step", 0, rft.KindInternal, "the engine crashed with exit code 3"},
		{"crash", "step", 0, rft.KindInternal, "the engine crashed with exit code 2"},
		{"close and live on", "step", 0, rft.KindUnavailable, "the engine was ended from outside"},
	} {
		t.Run(c.play+" "+c.kind, func(t *testing.T) {
			t.Parallel()
			ctx := t.Context()
			if c.play == "dumb" {
				var cancel context.CancelFunc
				ctx, cancel = context.WithTimeout(ctx, 300*time.Millisecond)
				defer cancel()
			}
			err, _, log := hostileChild(t, ctx, c.kind, order{Play: c.play}, c.silence)
			if err == nil || rft.KindOf(err) != c.want || !strings.HasPrefix(err.Error(), c.text) || len(err.Error()) > 2000 {
				t.Errorf("%v: %.300v; want %v: %s", rft.KindOf(err), err, c.want, c.text)
			}
			if strings.Contains(log.String(), "somebody") {
				t.Errorf("the log holds what the child printed: %.300s", log)
			}
		})
	}
}

// TestPolicy: what the host's policy demands and the host lacks refuses the
// child, by the layer's name.
func TestPolicy(t *testing.T) {
	for name, h := range map[string]*broker.Host{
		"gvisor": {Isolation: sandbox.LevelGVisor},
		"vm":     {Isolation: sandbox.LevelVM},
		"moat":   {Require: []string{sandbox.LayerSeccomp, "moat"}},
	} {
		h.Launcher, h.Engine = sandbox.New(), program
		c, err := h.Start(t.Context(), broker.Options{Name: "step"})
		if err == nil {
			c.Close()
		}
		if rft.KindOf(err) != rft.KindFailedPrecondition || !strings.Contains(rft.PublicMessage(err), name) {
			t.Errorf("%s: %v", name, err)
		}
	}
	h := &broker.Host{Launcher: sandbox.New(), Engine: program, Require: []string{sandbox.LayerSeccomp, sandbox.LayerNetwork}}
	c, err := h.Start(t.Context(), broker.Options{Name: "step"})
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
}

// TestWritableWeights: a child is not handed what it could write to.
func TestWritableWeights(t *testing.T) {
	f, err := os.CreateTemp(t.TempDir(), "weights")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	c, err := host(t).Start(t.Context(), broker.Options{Name: "step", Weights: &broker.Weights{File: f, Size: 1}})
	if err == nil {
		c.Close()
	}
	if rft.KindOf(err) != rft.KindInternal {
		t.Errorf("%v", err)
	}
}

// TestGVisorStep: the stronger level changes nothing but what holds the child:
// a step gives the same bytes under it.
func TestGVisorStep(t *testing.T) {
	runsc := os.Getenv("FIREKEEP_RUNSC")
	if _, err := os.Stat(runsc); runsc == "" || err != nil && os.Getenv("FIREKEEP_WITHOUT_ORACLES") == "1" {
		t.Skip("host lacks runsc: FIREKEEP_RUNSC names none")
	}
	w, _ := tinyWeights(t)
	_, want, _ := train(t, broker.Options{Name: "step", Weights: w, Threads: 1}, stepInput(4))
	_, got, _ := train(t, broker.Options{Name: "step", Weights: w, Threads: 1, Isolation: sandbox.LevelGVisor}, stepInput(4))
	if !same(got, want) {
		t.Error("other bytes")
	}
}
