package kernel

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"testing"
)

// TestNEONEncodings asks the disassembler that comes with Go what the words of
// the arm64 header mean that Go's assembler cannot write.
func TestNEONEncodings(t *testing.T) {
	const header = "neon_encoding_arm64.h"
	text, err := os.ReadFile(header)
	if err != nil {
		t.Fatal(err)
	}
	defined := regexp.MustCompile(`(?m)^#define (\w+)\(((?:m, )?n, d)\) WORD .+ // (.+)$`).FindAllStringSubmatch(string(text), -1)
	if got, want := len(defined), bytes.Count(text, []byte("#define")); got != want || got == 0 {
		t.Fatalf("%d of %d lines are read", got, want)
	}
	source := "#include \"textflag.h\"\n#include \"" + header + "\"\nTEXT ·words(SB), NOSPLIT|NOFRAME, $0-0\n"
	var want []string
	for _, numbers := range []string{"3 17 30", "29 2 12"} { // m, n, d
		var m, n, d string
		fmt.Sscan(numbers, &m, &n, &d)
		fill := strings.NewReplacer("{m}", m, "{n}", n, "{d}", d)
		for _, macro := range defined {
			arguments := strings.NewReplacer("m", m, "n", n, "d", d).Replace(macro[2])
			source += "\t" + macro[1] + "(" + arguments + ")\n"
			want = append(want, fill.Replace(macro[3]))
		}
	}
	dir := t.TempDir()
	path, object := filepath.Join(dir, "words.s"), filepath.Join(dir, "words.o")
	if err := os.WriteFile(path, []byte(source), 0o600); err != nil {
		t.Fatal(err)
	}
	run := func(args ...string) string {
		cmd := exec.Command("go", append([]string{"tool"}, args...)...)
		if args[0] == "asm" {
			cmd.Env = append(os.Environ(), "GOOS=linux", "GOARCH=arm64")
		}
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%v: %v\n%s", args, err, out)
		}
		return string(out)
	}
	run("asm", "-I", ".", "-I", filepath.Join(goroot(t), "pkg", "include"), "-p", "words", "-o", object, path)
	var got []string
	for _, line := range strings.Split(run("objdump", "-gnu", object), "\n") {
		if _, gnu, ok := strings.Cut(line, "//"); ok {
			got = append(got, strings.TrimSpace(gnu))
		}
	}
	if len(got) < len(want) {
		t.Fatalf("%d instructions, want %d: %q", len(got), len(want), got)
	}
	for i, w := range want {
		if got[i] != w {
			t.Errorf("%s is %q, not %q", defined[i%len(defined)][1], got[i], w)
		}
	}
}

func goroot(t *testing.T) string {
	t.Helper()
	out, err := exec.Command("go", "env", "GOROOT").Output()
	if err != nil {
		t.Fatalf("%v on %s", err, runtime.GOOS)
	}
	return strings.TrimSpace(string(out))
}
