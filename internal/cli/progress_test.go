package cli

import (
	"bytes"
	"strings"
	"testing"
	"unicode/utf8"
)

// TestLiveLine: a terminal has one line that is redrawn and never wraps; elsewhere
// there is a line for each thing that is new; --json has none.
func TestLiveLine(t *testing.T) {
	long := "running     50%  update 12  " + strings.Repeat("reward 0.500  ", 20) + "\n\x1b[2Jforged"
	show := func(terminal, json bool) string {
		var out bytes.Buffer
		l := &live{a: &app{Invocation: Invocation{Terminal: terminal, Stderr: &out, Width: func() int { return 60 }}, json: json, rawErr: &out}}
		l.show("50", long)
		l.show("50", long)
		l.show("51", long)
		l.end()
		return out.String()
	}
	drawn := strings.Split(show(true, false), "\r\x1b[K")
	if len(drawn) != 5 || drawn[0] != "" || drawn[4] != "" {
		t.Fatalf("%q is not three lines that replace each other", drawn)
	}
	for _, line := range drawn[1:4] {
		if utf8.RuneCountInString(line) != 59 || strings.ContainsFunc(line, drives) {
			t.Errorf("%q does not fit a terminal of 60 columns", line)
		}
	}
	plain := show(false, false)
	if strings.Count(plain, "\n") != 2 || strings.ContainsRune(plain, 0x1b) {
		t.Errorf("elsewhere: %q", plain)
	}
	if got := show(true, true) + show(false, true); got != "" {
		t.Errorf("with --json: %q", got)
	}
}
