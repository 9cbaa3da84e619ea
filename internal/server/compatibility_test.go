package server

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const compatibility = "../../docs/compatibility.md"

// clientNames are what the official client calls collections and verbs that it
// does not call by their names on the wire.
var clientNames = map[string]string{
	"deployedModels": "lora", "rlorTrainerJobs": "reinforcement_fine_tuning_steps", "supervisedFineTuningJobs": "supervised_fine_tuning_jobs",
	"lora.create": "lora.load", "lora.delete": "lora.unload", "completions.create": "completions.create",
}

// clientCall is how the official client calls an operation: "datasets.create(".
func clientCall(o Operation) string {
	switch o.Path {
	case "/v1/chat/completions", "/inference/v1/chat/completions":
		return "chat.completions.create("
	case "/v1/completions", "/inference/v1/completions":
		return "completions.create("
	case "/v1/models", "/inference/v1/models":
		return "models.list("
	}
	seg := strings.Split(o.Path, "/")
	last, verb, custom := strings.Cut(seg[len(seg)-1], ":")
	if strings.HasPrefix(last, "{") {
		last = seg[len(seg)-2]
	}
	if !custom {
		verb = map[string]string{"POST": "create", "PATCH": "update", "DELETE": "delete", "GET": "get"}[o.Method]
		if o.Method == "GET" && !strings.HasSuffix(o.Path, "}") || o.Path == "/v1/accounts" {
			verb = "list"
		}
	}
	if name := clientNames[last]; name != "" {
		last = name
	}
	call := snake(last) + "." + snake(verb)
	if name := clientNames[call]; name != "" {
		call = name
	}
	return call + "("
}

// plainCall matches a call that a client makes of a path itself, because it has no
// method for the operation.
func plainCall(o Operation) *regexp.Regexp {
	path := regexp.MustCompile(`\\\{[^/:]*\\\}`).ReplaceAllString(regexp.QuoteMeta(o.Path), `[^/:"]+`)
	return regexp.MustCompile(`\.` + strings.ToLower(o.Method) + `\(f?"` + path + `"`)
}

var pyFunction = regexp.MustCompile(`(?m)^(?:async )?def (\w+)`)

// testAround is the test that the text at a place belongs to, or that calls the
// helper it belongs to; "" = none.
func testAround(text string, at int) string {
	for range 8 { // helpers of helpers
		around := pyFunction.FindAllStringSubmatch(text[:at], -1)
		if len(around) == 0 {
			return ""
		}
		name := around[len(around)-1][1]
		if strings.HasPrefix(name, "test_") {
			return name
		}
		call := regexp.MustCompile(`(?m)^[ \t].*\b` + name + `\(`).FindStringIndex(text)
		if call == nil {
			return ""
		}
		at = call[0]
	}
	return ""
}

// shownBy names a test of a client that others wrote in which an operation is
// called; "" = there is none, and TestRouteTable is what shows it.
func shownBy(t *testing.T, o Operation) string {
	t.Helper()
	files, err := filepath.Glob("../../clients*/test_*.py")
	must(t, err)
	slices.Sort(files)
	call, plain := "."+clientCall(o), plainCall(o)
	for _, file := range files {
		b, err := os.ReadFile(file)
		must(t, err)
		text := string(b)
		at := strings.Index(text, call)
		if there := plain.FindStringIndex(text); at < 0 && there != nil {
			at = there[0]
		}
		if at < 0 {
			continue
		}
		if test := testAround(text, at); test != "" {
			return strings.TrimPrefix(file, "../../") + ": " + test
		}
	}
	return ""
}

// TestCompatibility: docs/compatibility.md says of each operation of the contract
// whether it is here, by the table of routes, and what shows it or why not.
func TestCompatibility(t *testing.T) {
	f := newFixture(t)
	var b strings.Builder
	ops, supported := f.srv.Operations(), 0
	for _, o := range ops {
		if o.Supported {
			supported++
		}
	}
	fmt.Fprintf(&b, "# Compatibility\n\nEvery operation of the wire contract: %d of %d are served. What is not answers 501 with the reason, and `x-should-retry: false`.\n"+
		"This page is generated from the table of routes; `TestRouteTable` asks each route as every kind of caller, and tests of clients that others wrote are named where there are any.\n\n"+
		"| operation | method and path | here | shown by, or why not |\n|---|---|---|---|\n", supported, len(ops))
	for _, o := range ops {
		here, why := "no", o.Reason
		if o.Supported {
			here = "yes"
			if why = shownBy(t, o); why == "" {
				why = "internal/server: TestRouteTable"
			}
		}
		fmt.Fprintf(&b, "| %s | `%s %s` | %s | %s |\n", o.Name, o.Method, o.Path, here, why)
	}
	if *update {
		must(t, os.WriteFile(compatibility, []byte(b.String()), 0o644))
		return
	}
	page, err := os.ReadFile(compatibility)
	must(t, err)
	// What is served must be what is said; tests come and go, but those that are
	// named must be there.
	rows := func(page string) (out []string) {
		for line := range strings.Lines(page) {
			if cells := strings.Split(line, "|"); len(cells) == 6 {
				out = append(out, strings.Join(cells[:4], "|"))
			}
		}
		return out
	}
	if !slices.Equal(rows(b.String()), rows(string(page))) {
		t.Error("docs/compatibility.md is not what the routes say; run go test -update")
	}
	for _, m := range regexp.MustCompile(`\| (clients[^:|]*): (test_\w+) \|`).FindAllStringSubmatch(string(page), -1) {
		text, err := os.ReadFile("../../" + m[1])
		if err != nil || !strings.Contains(string(text), "def "+m[2]+"(") {
			t.Errorf("docs/compatibility.md names %s: %s, which is not there", m[1], m[2])
		}
	}
	if !strings.Contains(string(page), "clients/test_openai.py") {
		t.Error("docs/compatibility.md names no test of the openai client")
	}
}
