// Package cli is the command line: `firekeep serve` puts the server together,
// every other command speaks the HTTP API of one. Nothing here reads the
// process' environment or arguments; Run is given both.
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/alecthomas/kong"

	"github.com/firekeep/firekeep/api"
	"github.com/firekeep/firekeep/internal/rft"
)

// Invocation is one call of the program.
type Invocation struct {
	Args    []string // without the program's name
	Env     func(string) string
	Stdin   io.Reader
	Stdout  io.Writer
	Stderr  io.Writer
	Version string
	// Terminal says that Stderr is one: progress then redraws its line.
	Terminal bool
}

// grammar is the command line, as kong reads it.
type grammar struct {
	JSON bool   `help:"Print answers as JSON."`
	Home string `help:"Directory of the server's state; its admin.key serves commands against loopback." placeholder:"DIR"`
	URL  string `name:"base-url" help:"Address of the server (FIREKEEP_BASE_URL)." placeholder:"URL"`

	Serve      serveCmd      `cmd:"" help:"Run the server."`
	Model      modelCmd      `cmd:"" help:"Import, export and list models."`
	Dataset    datasetCmd    `cmd:"" help:"Register and list datasets."`
	Step       stepCmd       `cmd:"" help:"Run reinforcement steps."`
	Connection connectionCmd `cmd:"" help:"Keep credentials of buckets."`
	Key        keyCmd        `cmd:"" help:"Create and revoke API keys."`
	Chat       chatCmd       `cmd:"" help:"Ask a model one question."`
	Doctor     doctorCmd     `cmd:"" help:"Say what this host gives: sandbox layers, kernels, storage."`
	Fsck       fsckCmd       `cmd:"" help:"Verify everything durable in a home that no server is using."`
	Version    versionCmd    `cmd:"" help:"Print the version."`
}

// app is what commands work with.
type app struct {
	Invocation
	ctx  context.Context
	json bool
	home string
	url  string

	clientOnce *api.Client
	account    string
}

// exit carries an exit code out of kong.
type exit int

// Run runs one command and returns the process' exit code: 0, or the code of
// the error's kind.
func Run(ctx context.Context, in Invocation) (code int) {
	defer func() {
		if e, ok := recover().(exit); ok {
			code = int(e)
		} else if e := recover(); e != nil {
			panic(e)
		}
	}()
	var g grammar
	parser, err := kong.New(&g, kong.Name("firekeep"), kong.Description("Secure reinforcement fine-tuning inside your own walls."),
		kong.Writers(in.Stdout, in.Stderr), kong.Exit(func(c int) { panic(exit(c)) }), kong.UsageOnError(), kong.ConfigureHelp(kong.HelpOptions{Compact: true}))
	if err != nil {
		fmt.Fprintln(in.Stderr, "firekeep:", err)
		return 1
	}
	parsed, err := parser.Parse(in.Args)
	if err != nil {
		fmt.Fprintf(in.Stderr, "firekeep: %s\n", err)
		return rft.KindInvalidArgument.ExitCode()
	}
	a := &app{Invocation: in, ctx: ctx, json: g.JSON, home: g.Home, url: g.URL}
	if a.home == "" {
		a.home = a.defaultHome()
	}
	if err := parsed.Run(a); err != nil {
		a.report(err, parsed.Command())
		return kindOf(err).ExitCode()
	}
	return 0
}

// kindOf is the kind of an error of this process or of the server.
func kindOf(err error) rft.Kind {
	var remote *api.Error
	if errors.As(err, &remote) {
		return rft.Kind(remote.Kind)
	}
	return rft.KindOf(err)
}

// report prints an error and what to do next.
func (a *app) report(err error, command string) {
	message := rft.PublicMessage(err)
	var remote *api.Error
	if errors.As(err, &remote) {
		message = remote.Error()
	}
	var said *quiet
	if a.json && !(errors.As(err, &said) && said.printed) {
		_ = a.printJSON(map[string]any{"error": map[string]any{"kind": kindOf(err), "message": message}})
	}
	fmt.Fprintf(a.Stderr, "firekeep: %s\n", message)
	if hint := a.hint(err, command); hint != "" {
		fmt.Fprintf(a.Stderr, "  %s\n", hint)
	}
}

// hint names the next command to try.
func (a *app) hint(err error, command string) string {
	noun, _, _ := strings.Cut(command, " ")
	switch kindOf(err) {
	case rft.KindUnavailable:
		if noun == "serve" {
			return ""
		}
		return "is `firekeep serve` running there? FIREKEEP_BASE_URL or --base-url names the server"
	case rft.KindUnauthenticated:
		return "set FIREKEEP_API_KEY; `firekeep serve` wrote the first key to admin.key in its home directory"
	case rft.KindPermissionDenied:
		return "an admin of the account can do this, or give you the role: `firekeep key list`"
	case rft.KindNotFound:
		switch noun {
		case "model", "dataset", "step", "connection", "key":
			return fmt.Sprintf("`firekeep %s list` shows what there is", noun)
		case "chat":
			return "`firekeep model list` shows what there is"
		}
	case rft.KindAlreadyExists:
		switch noun {
		case "model", "dataset", "connection":
			return fmt.Sprintf("choose another name, or `firekeep %s delete NAME` first", noun)
		case "step":
			return "choose another --output; `firekeep model list` shows what there is"
		}
	case rft.KindFailedPrecondition, rft.KindInvalidArgument:
		if noun == "step" {
			return "`firekeep dataset get ID` and `firekeep model get ID` show the state of what a step reads"
		}
	}
	return ""
}

// versionCmd prints the version.
type versionCmd struct{}

// Run implements a command.
func (versionCmd) Run(a *app) error {
	if a.json {
		return a.printJSON(map[string]string{"version": a.Version})
	}
	_, err := fmt.Fprintln(a.Stdout, "firekeep", a.Version)
	return err
}
