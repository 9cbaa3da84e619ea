// Command firekeep is the server and its command line.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"github.com/mattn/go-isatty"
	"golang.org/x/sys/unix"

	"github.com/firekeep/firekeep/internal/cli"
	"github.com/firekeep/firekeep/internal/sandbox"
)

// version is set by the linker.
var version = "unknown"

func main() {
	sandbox.Init() // in a sandbox's first stage this does not return
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := cli.Run(ctx, cli.Invocation{
		Args: os.Args[1:], Env: os.Getenv, Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr,
		Version: version, Terminal: isatty.IsTerminal(os.Stderr.Fd()), OutTerminal: isatty.IsTerminal(os.Stdout.Fd()), Width: width,
	})
	stop()
	os.Exit(code)
}

// width is the width of the terminal in columns, 0 where there is none.
func width() int {
	for _, f := range []*os.File{os.Stderr, os.Stdout} {
		if size, err := unix.IoctlGetWinsize(int(f.Fd()), unix.TIOCGWINSZ); err == nil && size.Col > 0 {
			return int(size.Col)
		}
	}
	return 0
}
