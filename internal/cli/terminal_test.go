package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"
)

// hostile is what a server should never say and might.
const hostile = "ok\x1b]0;title\x07\x1b[2J\u009b31m\u202edesrever\r\nforged\tcolumn\x7f"

// drives reports, by the tables of Unicode, whether a character does something
// instead of being shown.
func drives(r rune) bool {
	return unicode.In(r, unicode.Cc, unicode.Bidi_Control, unicode.Zl, unicode.Zp)
}

// hostileServer answers every list, resource and stream with names and messages
// that act on a terminal.
func hostileServer(t *testing.T) *httptest.Server {
	t.Helper()
	reply := func(v any) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("X-Fireworks-Account-Id", "main")
			b, _ := json.Marshal(v)
			// As JSON may also be written: characters above the controls of ASCII raw.
			_, _ = w.Write(b)
		}
	}
	type object = map[string]any
	job := object{"name": "accounts/main/rlorTrainerJobs/" + hostile, "state": "JOB_STATE_COMPLETED", "status": object{"code": "OK", "message": hostile}, "dataset": hostile,
		"trainingConfig": object{"outputModel": hostile}}
	mux := http.NewServeMux()
	mux.HandleFunc("/verifyApiKey", reply(object{}))
	mux.HandleFunc("/v1/accounts/main/models", reply(object{"models": []object{{"name": hostile, "kind": hostile, "state": hostile}}}))
	mux.HandleFunc("/v1/accounts/fireworks/models", reply(object{"models": []object{}}))
	mux.HandleFunc("/v1/accounts/main/models/m", reply(object{"name": hostile, "description": hostile, "peftDetails": object{"targetModules": []string{hostile}}}))
	mux.HandleFunc("/v1/accounts/main/models/absent", func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusNotFound)
		_ = json.NewEncoder(w).Encode(object{"code": 5, "message": hostile})
	})
	mux.HandleFunc("/v1/accounts/main/rlorTrainerJobs/s", reply(job))
	mux.HandleFunc("/v1/accounts/main/rlorTrainerJobs/s/events", reply(object{"events": []object{{"seq": 1, "type": "warning", "message": hostile, "time": "2026-01-01T00:00:00Z"}}}))
	mux.HandleFunc("/v1/accounts/main/rlorTrainerJobs/s/metrics", reply(object{"metrics": []object{}}))
	mux.HandleFunc("/v1/accounts/main/connections", reply(object{"connections": []object{{"name": hostile, "warnings": []string{hostile}}}}))
	mux.HandleFunc("/v1/chat/completions", func(w http.ResponseWriter, r *http.Request) {
		b, _ := json.Marshal(object{"choices": []object{{"index": 0, "delta": object{"content": hostile}}}})
		_, _ = io.WriteString(w, "data: "+string(b)+"\n\ndata: [DONE]\n\n")
	})
	mux.HandleFunc("/v1/completions", reply(object{"choices": []object{{"index": 0, "text": hostile}}}))
	s := httptest.NewServer(mux)
	t.Cleanup(s.Close)
	return s
}

// TestTerminalIsNotDriven: whatever a server says, the streams of the program hold
// no control character but newlines, and no line that a server began.
func TestTerminalIsNotDriven(t *testing.T) {
	s := hostileServer(t)
	for _, terminal := range []bool{false, true} {
		for _, command := range []string{"model list", "model get m", "model get m --json", "model list --json", "model get absent", "model get absent --json", "step get s", "step wait s", "step logs s",
			"step logs -f s", "step logs s --json", "step logs -f s --json", "step list", "connection list", "chat m hello", "complete m hello", "chat m hello --json"} {
			var out, errs bytes.Buffer
			Run(context.Background(), Invocation{Args: strings.Fields(command), Env: func(k string) string {
				return map[string]string{"FIREKEEP_BASE_URL": s.URL, "FIREKEEP_API_KEY": "fk_x"}[k]
			},
				Stdin: strings.NewReader(""), Stdout: &out, Stderr: &errs, Version: "test", OutTerminal: terminal, Terminal: terminal})
			said := strings.ReplaceAll(out.String()+errs.String(), "\r\x1b[K", "") // our own: it redraws the line of progress
			if i := strings.IndexFunc(said, func(r rune) bool { return r != '\n' && r != '\t' && drives(r) }); i >= 0 {
				t.Errorf("firekeep %s: %q", command, said[max(0, i-20):min(len(said), i+20)])
			}
			if !strings.HasPrefix(command, "ch") && !strings.HasPrefix(command, "complete") {
				for _, line := range strings.Split(said, "\n") {
					if strings.HasPrefix(line, "forged") {
						t.Errorf("firekeep %s: the server began a line", command)
					}
				}
			}
		}
	}
}

// FuzzCleaner: in any pieces, no control character gets through, text without them
// is unchanged, and JSON stays the same document.
func FuzzCleaner(f *testing.F) {
	f.Add([]byte(hostile), uint8(3))
	f.Add([]byte("plain text, ümläuts, 漢字\n\tend"), uint8(1))
	f.Add([]byte("\xff\xfe\xc2"), uint8(2))
	f.Add([]byte("\u061c\u200f\u2028\u2029\u202a\u2066\u2069\x9b\u0085\x7f\r\v"), uint8(4))
	f.Fuzz(func(t *testing.T, in []byte, size uint8) {
		var out bytes.Buffer
		c := &cleaner{to: &out}
		step := int(size%7) + 1
		for rest := in; len(rest) > 0; rest = rest[min(step, len(rest)):] {
			if n, err := c.Write(rest[:min(step, len(rest))]); err != nil || n != min(step, len(rest)) {
				t.Fatal(n, err)
			}
		}
		c.flush()
		got := out.String()
		if !utf8.ValidString(got) || strings.ContainsFunc(got, func(r rune) bool { return r != '\n' && r != '\t' && drives(r) }) {
			t.Fatalf("%q became %q", in, got)
		}
		if utf8.Valid(in) && !strings.ContainsFunc(string(in), func(r rune) bool { return r != '\n' && r != '\t' && drives(r) }) && got != string(in) {
			t.Fatalf("%q became %q", in, got)
		}
		if line := oneLine(string(in)); strings.ContainsFunc(line, drives) || !utf8.ValidString(line) {
			t.Fatalf("%q became the line %q", in, line)
		}
		quoted, err := json.Marshal(strings.ToValidUTF8(string(in), "\ufffd"))
		if err != nil {
			t.Fatal(err)
		}
		out.Reset()
		_, _ = c.Write(quoted)
		var before, after string
		if json.Unmarshal(quoted, &before) != nil || json.Unmarshal(out.Bytes(), &after) != nil || before != after {
			t.Fatalf("%q is no longer the document %q", out.String(), quoted)
		}
	})
}

// TestFilesAreNotChanged: what is a file goes to a pipe byte by byte.
func TestFilesAreNotChanged(t *testing.T) {
	var pipe, terminal bytes.Buffer
	a := &app{Invocation: Invocation{Stdout: &cleaner{to: &terminal}}, rawOut: &pipe}
	_, _ = a.bytesOut().Write([]byte(hostile))
	if pipe.String() != hostile {
		t.Errorf("a pipe got %q", pipe.String())
	}
	a.OutTerminal = true
	_, _ = a.bytesOut().Write([]byte(hostile))
	if strings.ContainsRune(terminal.String(), 0x1b) {
		t.Errorf("a terminal got %q", terminal.String())
	}
}
