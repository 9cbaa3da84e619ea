// Command hostile stands in for the engine in the broker's tests: it is started
// exactly as the engine is and does not what it is told but what its order says.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/firekeep/firekeep/internal/sandbox/escapetest"
	"github.com/firekeep/firekeep/internal/wire"
	"golang.org/x/sys/unix"
)

// order is what the test wants; it lies where the weights would.
type order struct {
	Play    string           `json:"play"`
	Attempt string           `json:"attempt"`
	Scene   escapetest.Scene `json:"scene"`
}

func main() {
	var o order
	b, err := io.ReadAll(os.NewFile(3, "order"))
	if err != nil || json.Unmarshal(b, &o) != nil {
		os.Exit(9)
	}
	if play, ok := greetings[o.Play]; ok {
		play()
		wait()
	}
	conn := wire.New(stdio{}, wire.Options{Side: wire.Engine})
	ctx := context.Background()
	if _, err := conn.Handshake(ctx, wire.Hello{Peer: "firekeep-engine", Level: "go", Levels: []string{"go"}}); err != nil {
		os.Exit(8)
	}
	task, err := conn.Receive(ctx)
	if err != nil {
		os.Exit(7)
	}
	switch play := plays[o.Play]; {
	case o.Play == "attempt":
		say(conn, escapetest.Outcome(o.Attempt, &o.Scene))
	case o.Play == "descriptors":
		say(conn, descriptors())
	case play != nil:
		play(conn, task.(wire.Task))
	}
	wait()
}

type stdio struct{}

func (stdio) Read(p []byte) (int, error)  { return os.Stdin.Read(p) }
func (stdio) Write(p []byte) (int, error) { return os.Stdout.Write(p) }
func (stdio) Close() error                { return errors.Join(os.Stdin.Close(), os.Stdout.Close()) }

// say ends the task with a text, which the session's error shows.
func say(c *wire.Conn, text string) {
	_ = c.Send(context.Background(), wire.Fault{Kind: "INTERNAL", Message: text})
}

func wait() { time.Sleep(time.Hour) } // a select without cases ends the program

// descriptors lists what is open: number, kind and direction.
func descriptors() string {
	var list []string
	for fd := range 1024 {
		flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0)
		if err != nil || flags&unix.FD_CLOEXEC != 0 { // the runtime's own poller is close-on-exec
			continue
		}
		var st unix.Stat_t
		mode, err := unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0)
		if err = errors.Join(err, unix.Fstat(fd, &st)); err != nil {
			list = append(list, fmt.Sprint(fd, " ", err))
			continue
		}
		kind := map[uint32]string{unix.S_IFIFO: "pipe", unix.S_IFREG: "file", unix.S_IFSOCK: "socket", unix.S_IFCHR: "device"}[st.Mode&unix.S_IFMT]
		way := map[int]string{unix.O_RDONLY: "in", unix.O_WRONLY: "out", unix.O_RDWR: "both"}[mode&unix.O_ACCMODE]
		list = append(list, fmt.Sprint(fd, " ", kind, " ", way))
	}
	return strings.Join(list, ", ")
}
