// Package cli is the command line: `firekeep serve` puts the server together,
// every other command speaks the HTTP API of one. Nothing here reads the
// process' environment or arguments; Run is given both.
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
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
	// OutTerminal says that Stdout is one.
	OutTerminal bool
	// Width is the width of the terminal in columns, 0 = unknown; nil = none.
	Width func() int
}

// grammar is the command line, as kong reads it.
type grammar struct {
	JSON bool   `help:"Print answers as JSON."`
	Home string `help:"Directory of the server's state; its admin.key serves commands against loopback." placeholder:"DIR"`
	URL  string `name:"base-url" help:"Address of the server (FIREKEEP_BASE_URL)." placeholder:"URL"`

	AccountID string `name:"account-id" short:"a" help:"Account whose resources bare names mean; that of the key by default." placeholder:"ACCOUNT"`
	Use       string `name:"profile" short:"p" help:"Profile to use (FIREKEEP_PROFILE); what it says stands above the environment." placeholder:"NAME" complete:"profiles"`

	Serve      serveCmd      `cmd:"" help:"Run the server."`
	Model      modelCmd      `cmd:"" help:"Import, export and list models."`
	Dataset    datasetCmd    `cmd:"" help:"Register and list datasets."`
	Step       stepCmd       `cmd:"" help:"Run reinforcement steps."`
	SFT        sftCmd        `cmd:"" name:"sft" help:"Run supervised fine-tuning."`
	DPO        dpoCmd        `cmd:"" name:"dpo" help:"Run preference optimisation: DPO and ORPO."`
	Batch      batchCmd      `cmd:"" help:"Answer datasets of requests."`
	Merge      mergeCmd      `cmd:"" help:"Merge LoRA checkpoints into the base models that they stand on."`
	Deployment deploymentCmd `cmd:"" help:"Serve models under names of their own, and load checkpoints on them."`
	Deployed   deployedCmd   `cmd:"" name:"deployed-model" help:"See and change what is loaded where."`
	LoadLora   loadLoraCmd   `cmd:"" name:"load-lora" hidden:"" help:"As deployment load-lora."`
	UnloadLora unloadLoraCmd `cmd:"" name:"unload-lora" hidden:"" help:"As deployment unload-lora."`
	Secret     secretCmd     `cmd:"" help:"Keep values that nobody can read back."`
	Connection connectionCmd `cmd:"" help:"Connect buckets, by federation or with sealed secrets."`
	Issuer     issuerCmd     `cmd:"" help:"Publish and rotate the keys of the token issuer."`
	Key        keyCmd        `cmd:"" help:"Create, rotate and revoke API keys."`
	Kek        kekCmd        `cmd:"" help:"Keep the key that everything of the account is sealed under."`
	User       userCmd       `cmd:"" help:"Keep users and service accounts."`
	Role       roleCmd       `cmd:"" help:"Keep roles of the account's own."`
	Access     accessCmd     `cmd:"" help:"Review who can do what, and sign it off."`
	Quota      quotaCmd      `cmd:"" help:"Show and change limits of the account."`
	Account    accountCmd    `cmd:"" help:"Keep tenants, with the operator's key."`
	Whoami     whoamiCmd     `cmd:"" help:"Say which server, account and user the key stands for."`
	Profile    profileCmd    `cmd:"" help:"Keep servers and keys under names of their own."`
	Login      loginCmd      `cmd:"" help:"Sign in at the account's identity provider."`
	Logout     logoutCmd     `cmd:"" help:"End the sign-in."`
	Token      tokenCmd      `cmd:"" help:"Exchange a job's own identity token for one of this server."`
	Provider   providerCmd   `cmd:"" name:"identity-provider" help:"Keep the issuers whose tokens the account takes."`
	Audit      auditCmd      `cmd:"" help:"List, verify, export and follow the audit log."`
	Chat       chatCmd       `cmd:"" help:"Ask a model one question."`
	Complete   completeCmd   `cmd:"" help:"Let a model go on from a text."`
	Doctor     doctorCmd     `cmd:"" help:"Say what this host gives: sandbox layers, kernels, storage."`
	Fsck       fsckCmd       `cmd:"" help:"Verify everything durable in a home that no server is using."`
	Backup     backupCmd     `cmd:"" help:"Copy a home and make homes of copies."`
	Completion completionCmd `cmd:"" help:"Print a script that completes commands and names in a shell."`
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

	profileName string // of the command line
	profile     *profile
	profileRead bool

	// rawOut and rawErr are the streams without the cleaner in front of them.
	rawOut, rawErr io.Writer
}

// exit carries an exit code out of kong.
type exit int

// Run runs one command and returns the process' exit code: 0, or the code of
// the error's kind.
func Run(ctx context.Context, in Invocation) (code int) {
	defer func() {
		switch e := recover().(type) {
		case nil:
		case exit:
			code = int(e)
		default:
			panic(e)
		}
	}()
	rawOut, rawErr := in.Stdout, in.Stderr
	out, errs := &cleaner{to: rawOut}, &cleaner{to: rawErr}
	in.Stdout, in.Stderr = out, errs
	defer out.flush()
	defer errs.flush()
	var g grammar
	parser, err := kong.New(&g, kong.Name("firekeep"), kong.Description("Secure reinforcement fine-tuning inside your own walls."),
		kong.Writers(in.Stdout, in.Stderr), kong.Exit(func(c int) { panic(exit(c)) }), kong.UsageOnError(), kong.ConfigureHelp(kong.HelpOptions{Compact: true}))
	if err != nil {
		fmt.Fprintln(in.Stderr, "firekeep:", err)
		return 1
	}
	if len(in.Args) > 0 && in.Args[0] == completeWord {
		a := &app{Invocation: in, ctx: ctx, rawOut: rawOut, rawErr: rawErr}
		a.home = a.defaultHome()
		a.complete(parser.Model.Node, in.Args[1:])
		return 0
	}
	in.Args = nounFirst(parser.Model.Node, in.Args)
	parsed, err := parser.Parse(in.Args)
	if err != nil {
		if slices.Contains(in.Args, "--json") {
			_ = (&app{Invocation: in}).printError(rft.KindInvalidArgument, err.Error())
		}
		fmt.Fprintf(in.Stderr, "firekeep: %s\n", err)
		if hint := secretHint(in.Args); hint != "" {
			fmt.Fprintf(in.Stderr, "  %s\n", hint)
		}
		fmt.Fprintf(in.Stderr, "  `%s --help` shows what it takes\n", asked(err))
		return rft.KindInvalidArgument.ExitCode()
	}
	a := &app{Invocation: in, ctx: ctx, json: g.JSON, home: g.Home, url: g.URL, account: g.AccountID, profileName: g.Use, rawOut: rawOut, rawErr: rawErr}
	if a.home == "" {
		a.home = a.defaultHome()
	}
	if err := parsed.Run(a); err != nil {
		a.report(err, parsed.Command())
		return kindOf(err).ExitCode()
	}
	return 0
}

// asked is the command, as far as it was understood, of arguments that were not.
func asked(err error) string {
	words := []string{"firekeep"}
	var e *kong.ParseError
	if errors.As(err, &e) {
		for _, p := range e.Context.Path {
			if p.Command != nil {
				words = append(words, p.Command.Name)
			}
		}
	}
	return strings.Join(words, " ")
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
		message = oneLine(remote.Error())
	}
	var said *quiet
	if a.json && !(errors.As(err, &said) && said.printed) {
		_ = a.printError(kindOf(err), message)
	}
	fmt.Fprintf(a.Stderr, "firekeep: %s\n", message)
	if hint := a.hint(err, command); hint != "" {
		fmt.Fprintf(a.Stderr, "  %s\n", hint)
	}
}

// printError prints an error as JSON.
func (a *app) printError(kind rft.Kind, message string) error {
	return a.printJSON(map[string]any{"error": map[string]any{"kind": kind, "message": message}})
}

// hint names the next command to try, where the message does not.
func (a *app) hint(err error, command string) string {
	words := append(strings.Fields(command), "", "")
	noun, verb := words[0], words[1]
	var remote *api.Error
	answered := errors.As(err, &remote)
	var failed *notReady
	if errors.As(err, &failed) {
		return fmt.Sprintf("the name is taken until `firekeep %s delete %s`", noun, failed.id)
	}
	switch kindOf(err) {
	case rft.KindUnavailable:
		if noun == "serve" {
			return "--listen or `listen` in config.json names another address; port 0 takes a free one"
		}
		return "is `firekeep serve` running there? FIREKEEP_BASE_URL or --base-url names the server"
	case rft.KindUnauthenticated:
		return "set FIREKEEP_API_KEY, or keep a key with `firekeep profile set NAME --base-url URL --key-from PATH`; `firekeep serve` wrote the first key to admin.key in its home directory"
	case rft.KindNotFound:
		switch {
		case !answered: // a file of this host
			return ""
		case noun == "key" && verb == "create":
			return "--role makes the user with its first key"
		case noun == "key":
			return "`firekeep key list --user USER` shows the keys of a user; --user names whose it is"
		case verb == "create" && slices.Contains(jobs, noun):
			return "`firekeep dataset list` and `firekeep model list` show what there is"
		case noun == "deployment" && verb == "create", noun == "merge" && verb == "create", noun == "chat", noun == "complete":
			return "`firekeep model list` shows what there is"
		case noun == "deployment" && verb == "undelete":
			return "`firekeep deployment list --show-deleted` shows what there is"
		}
		if slices.Contains(listed, noun) {
			return fmt.Sprintf("`firekeep %s list` shows what there is", noun)
		}
	case rft.KindAlreadyExists:
		switch noun {
		case "model", "dataset", "connection", "secret", "deployment":
			return fmt.Sprintf("choose another name, or `firekeep %s delete NAME` first", noun)
		case "batch":
			return "choose another --output, or --id; `firekeep dataset list` shows what there is"
		case "step", "sft", "dpo":
			return "choose another --output, or --id; `firekeep model list` shows what there is"
		case "merge":
			return "choose another --output; `firekeep model list` shows what there is"
		case "key":
			return "leave out --role for a user that is there"
		}
	case rft.KindPermissionDenied:
		return "`firekeep whoami` says who you are; `firekeep access review` says who may do what"
	case rft.KindFailedPrecondition:
		if verb == "create" && slices.Contains(jobs, noun) {
			return "`firekeep dataset get ID` and `firekeep model get ID` show the state of what a job reads"
		}
	}
	return ""
}

// jobs are the nouns of what reads datasets and models.
var jobs = []string{"step", "sft", "dpo", "batch"}

// listed are the nouns whose list says what could have been meant.
var listed = []string{"model", "dataset", "step", "sft", "dpo", "batch", "merge", "connection", "secret", "deployment", "deployed-model", "user", "role", "quota", "identity-provider"}

// notReady is the failure of what was made and keeps its name.
type notReady struct {
	error
	id string
}

func (n *notReady) Unwrap() error { return n.error }

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
