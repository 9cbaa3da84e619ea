//go:build linux

package cli

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// terminal is a shell at a terminal of its own.
type terminal struct {
	t    *testing.T
	f    *os.File
	seen strings.Builder
	more chan []byte
}

func openShell(t *testing.T, env []string, name string, args ...string) *terminal {
	t.Helper()
	f, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	number, err := unix.IoctlGetInt(int(f.Fd()), unix.TIOCGPTN)
	if err == nil {
		err = unix.IoctlSetPointerInt(int(f.Fd()), unix.TIOCSPTLCK, 0)
	}
	if err == nil {
		err = unix.IoctlSetWinsize(int(f.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: 50, Col: 200})
	}
	if err != nil {
		t.Fatal(err)
	}
	tty, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer tty.Close()
	cmd := exec.Command(name, args...)
	cmd.Env, cmd.Stdin, cmd.Stdout, cmd.Stderr = env, tty, tty, tty
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	s := &terminal{t: t, f: f, more: make(chan []byte, 64)}
	go func() {
		defer close(s.more)
		for {
			b := make([]byte, 4096)
			n, err := f.Read(b)
			if err != nil {
				return
			}
			s.more <- b[:n]
		}
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		f.Close()
	})
	return s
}

// keys types text and waits until the terminal shows want, behind what was
// there before.
func (s *terminal) keys(text, want string) {
	s.t.Helper()
	before := s.seen.Len()
	if _, err := s.f.WriteString(text); err != nil {
		s.t.Fatal(err)
	}
	late := time.After(30 * time.Second)
	for !strings.Contains(s.seen.String()[before:], want) {
		select {
		case b, ok := <-s.more:
			if !ok {
				s.t.Fatalf("the shell ended; want %q, got %q", want, s.seen.String()[before:])
			}
			s.seen.Write(b)
		case <-late:
			s.t.Fatalf("after %q: want %q, got %q", text, want, s.seen.String()[before:])
		}
	}
}

// atShell is what a shell finds: this program as firekeep, and a server.
func atShell(t *testing.T) []string {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Fireworks-Account-Id", "main")
		var sets []map[string]string
		if strings.HasSuffix(r.URL.Path, "/datasets") {
			sets = []map[string]string{{"name": "accounts/main/datasets/rows-first"}, {"name": "accounts/main/datasets/rows-second"}, {"name": "accounts/main/datasets/other"}}
		}
		_ = json.NewEncoder(w).Encode(map[string]any{"datasets": sets})
	}))
	t.Cleanup(server.Close)
	dir := t.TempDir()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(self, filepath.Join(dir, "firekeep")); err != nil {
		t.Fatal(err)
	}
	return []string{"PATH=" + dir + ":/usr/local/bin:/usr/bin:/bin", "HOME=" + t.TempDir(), "TERM=dumb", "LC_ALL=C.UTF-8", "FIREKEEP_BASE_URL=" + server.URL, "FIREKEEP_API_KEY=fk_x"}
}

func requireShell(t *testing.T, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		t.Skip("host lacks " + name)
	}
	return path
}

// TestBashCompletion types at bash: what is unique is filled in, the rest is
// listed, and a word behind = is one too.
func TestBashCompletion(t *testing.T) {
	s := openShell(t, atShell(t), requireShell(t, "bash"), "--norc", "--noprofile", "-i")
	s.keys("PS1='$'' '; bind 'set enable-bracketed-paste off'; source <(firekeep completion bash); echo rea''dy\n", "ready\r\n")
	s.keys("firekeep data\t", "firekeep dataset ")
	s.keys("get o\t", "get other")
	s.keys("\x15firekeep dataset get \t\t", "rows-second")
	s.keys("\x15firekeep step create --dataset=rows-f\t", "--dataset=rows-first")
	s.keys("\x15firekeep completion z\t", "completion zsh")
}

// TestZshCompletion does the same at zsh, which shows what a command is for.
func TestZshCompletion(t *testing.T) {
	s := openShell(t, atShell(t), requireShell(t, "zsh"), "-f", "-i")
	s.keys("PROMPT='%% '; unsetopt zle_bracketed_paste; autoload -Uz compinit; compinit -u -D; source <(firekeep completion zsh); echo rea''dy\n", "ready\r\n")
	s.keys("firekeep data\t", "set ")
	s.keys("get o\t", "ther ")
	s.keys("\x15firekeep dataset get rows-\t\t", "rows-second")
	s.keys("\x15firekeep step create --dataset=rows-f\t", "irst")
	s.keys("\x15firekeep dataset g\t", "et ")
	s.keys("\x15firekeep datase\t\x15firekeep dataset \t\t", "-- ")
}

// TestFishCompletion asks fish what it would offer, with the word's meaning.
func TestFishCompletion(t *testing.T) {
	path, env := requireShell(t, "fish"), atShell(t)
	for line, want := range map[string][]string{
		"firekeep data":                         {"dataset"},
		"firekeep dataset get rows-":            {"rows-first", "rows-second"},
		"firekeep dataset get o":                {"other"},
		"firekeep step create --dataset=rows-f": {"--dataset=rows-first"},
		"firekeep completion ":                  {"bash", "fish", "zsh"},
		"firekeep dataset create n --from test": {"testdata/"},
		"firekeep dpo create --method ":         {"DPO", "ORPO"},
	} {
		cmd := exec.Command(path, "--no-config", "-c", `firekeep completion fish | source; complete -C "$argv"`, line)
		cmd.Env = env
		out, err := cmd.CombinedOutput()
		var got []string
		for _, found := range strings.Split(strings.TrimSpace(string(out)), "\n") {
			word, _, _ := strings.Cut(found, "\t")
			got = append(got, word)
		}
		if err != nil || strings.Join(got, " ") != strings.Join(want, " ") {
			t.Errorf("%s: %v, %q; want %q", line, err, out, want)
		}
	}
}
