package broker

import (
	"errors"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/firekeep/firekeep/internal/rft"
	"github.com/firekeep/firekeep/internal/sandbox"
)

// TestExitErrors: how a child died decides whether trying again makes sense.
func TestExitErrors(t *testing.T) {
	for _, c := range []struct {
		exit   sandbox.Exit
		stderr string
		memory int64
		kind   rft.Kind
		text   string
	}{
		{exit: sandbox.Exit{Code: -1, Signal: "killed"}, kind: rft.KindUnavailable, text: "the engine was ended from outside"},
		{exit: sandbox.Exit{}, kind: rft.KindUnavailable, text: "the engine was ended from outside"},
		{exit: sandbox.Exit{Code: -1, Signal: "killed", OOM: true}, memory: 64 << 20, kind: rft.KindResourceExhausted, text: "the engine needed more than its memory limit of 64 MiB"},
		{exit: sandbox.Exit{Code: 2}, stderr: "fatal error: runtime: out of memory\n", kind: rft.KindResourceExhausted, text: "the engine needed more memory than its limit"},
		{exit: sandbox.Exit{Code: -1, Signal: "illegal instruction"}, kind: rft.KindInternal, text: "the engine crashed: illegal instruction"},
		{exit: sandbox.Exit{Code: 2}, stderr: "panic: secret\n", kind: rft.KindInternal, text: "the engine crashed with exit code 2"},
	} {
		child := &Child{opt: Options{MemoryBytes: c.memory}, exit: c.exit, stderr: &tail{}}
		child.stderr.fill(io.NopCloser(strings.NewReader(c.stderr)))
		err := child.exitError(errors.New("cause"))
		if rft.KindOf(err) != c.kind || err.Error() != c.text {
			t.Errorf("%+v: %v: %v", c.exit, rft.KindOf(err), err)
		}
	}
}

// TestStderrKeepsPositionsOnly: a crash may print what it worked on; the log
// gets only where it happened.
func TestStderrKeepsPositionsOnly(t *testing.T) {
	kept := &tail{}
	kept.fill(io.NopCloser(strings.NewReader("panic: my secret prompt\n\ngoroutine 1 [running]:\nmain.f({0x1, 0x2})\n" +
		"\tgithub.com/firekeep/firekeep/internal/child/child.go:12 +0x1d\nfatal error: all goroutines are asleep\nfatal error: My Secret\n" + strings.Repeat("x", 1<<17) + "\nlast")))
	want := []string{"\tgithub.com/firekeep/firekeep/internal/child/child.go:12", "fatal error: all goroutines are asleep"}
	if !slices.Equal(kept.stack(), want) {
		t.Errorf("%q", kept.stack())
	}
}
