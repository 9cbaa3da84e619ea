//go:build linux

package sandbox_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/firekeep/firekeep/internal/sandbox/escapetest"
	"golang.org/x/sys/unix"
)

// stage is what the attempts want to reach: a host of the test's own.
type stage struct {
	scene escapetest.Scene
	json  string
}

// newStage sets up everything that a Scene names.
func newStage(t *testing.T) *stage {
	t.Helper()
	t.Setenv("SECRET", escapetest.Treasure)
	dir := openTemp(t)
	host, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	s := &stage{scene: escapetest.Scene{Parent: os.Getpid(), Host: host, Dir: dir, Secret: filepath.Join(dir, "secret"),
		Unix: filepath.Join(dir, "socket"), Abstract: fmt.Sprintf("firekeep-escape-%d", os.Getpid())}}
	if err := os.WriteFile(s.scene.Secret, []byte(escapetest.Treasure), 0o644); err != nil {
		t.Fatal(err)
	}
	s.forget(t)
	s.startVictim(t)
	s.scene.TCP4, s.scene.TCP6 = greeter(t, "tcp4", "127.0.0.1:0"), greeter(t, "tcp6", "[::1]:0")
	greeter(t, "unix", s.scene.Unix)
	greeter(t, "unix", "@"+s.scene.Abstract)
	s.scene.UDP = nameServer(t)
	b, err := json.Marshal(s.scene)
	if err != nil {
		t.Fatal(err)
	}
	s.json = string(b)
	return s
}

// openTemp is a directory that every user may use.
func openTemp(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "firekeep-escape")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	return dir
}

// forget leaves a descriptor open for children, on purpose. Its number is above
// those that starting a child uses on the way.
func (s *stage) forget(t *testing.T) {
	t.Helper()
	fd, err := unix.Open(s.scene.Secret, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if s.scene.Open, err = unix.FcntlInt(uintptr(fd), unix.F_DUPFD, 300); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(s.scene.Open) })
}

// startVictim starts another process of this user.
func (s *stage) startVictim(t *testing.T) {
	t.Helper()
	cmd := exec.Command(probePath, "victim")
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
	t.Cleanup(func() { in.Close(); _ = cmd.Process.Kill(); _ = cmd.Wait() })
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	address, err := strconv.ParseUint(strings.TrimSpace(line), 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	s.scene.Victim, s.scene.Address = cmd.Process.Pid, uintptr(address)
}

// greeter listens and greets with the treasure; it returns the port.
func greeter(t *testing.T, network, address string) int {
	t.Helper()
	l, err := net.Listen(network, address)
	if err != nil {
		t.Logf("host lacks %s: %v", network, err)
		return 1
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = io.WriteString(c, escapetest.Treasure)
			c.Close()
		}
	}()
	if a, ok := l.Addr().(*net.TCPAddr); ok {
		return a.Port
	}
	return 0
}

// nameServer answers every question with "no such name"; it returns the port.
func nameServer(t *testing.T) int {
	t.Helper()
	c, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	go func() {
		b := make([]byte, 512)
		for {
			n, from, err := c.ReadFromUDP(b)
			if err != nil {
				return
			}
			b[2], b[3] = b[2]|0x80, 3
			_, _ = c.WriteToUDP(b[:n], from)
		}
	}()
	return c.LocalAddr().(*net.UDPAddr).Port
}

// props are the descriptors 3, 4 and 5 of an attempt: a socket on which a
// descriptor of the secret waits, a terminal and an empty file.
func (s *stage) props(t *testing.T) []*os.File {
	t.Helper()
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	theirs, ours := os.NewFile(uintptr(pair[0]), "theirs"), os.NewFile(uintptr(pair[1]), "ours")
	secret, err := os.Open(s.scene.Secret)
	if err != nil {
		t.Fatal(err)
	}
	defer secret.Close()
	if err := unix.Sendmsg(pair[1], []byte("x"), unix.UnixRights(int(secret.Fd())), nil, 0); err != nil {
		t.Fatal(err)
	}
	file, err := os.CreateTemp(s.scene.Dir, "file")
	if err != nil {
		t.Fatal(err)
	}
	master, terminal := openTerminal(t)
	t.Cleanup(func() {
		for _, f := range []*os.File{theirs, ours, file, master, terminal} {
			f.Close()
		}
	})
	return []*os.File{theirs, terminal, file}
}

func openTerminal(t *testing.T) (master, terminal *os.File) {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(int(master.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	terminal, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	return master, terminal
}
