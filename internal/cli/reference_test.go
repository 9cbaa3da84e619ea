package cli

import (
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/alecthomas/kong"

	"github.com/firekeep/firekeep/internal/rft"
)

// referencePath is the page that describes every command.
const referencePath = "../../docs/cli.md"

// TestReference holds docs/cli.md to the grammar; FIREKEEP_UPDATE=1 writes it.
func TestReference(t *testing.T) {
	want := reference(t)
	if os.Getenv("FIREKEEP_UPDATE") == "1" {
		if err := os.WriteFile(referencePath, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(referencePath)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != want {
		t.Errorf("%s is not current; FIREKEEP_UPDATE=1 go test ./internal/cli -run TestReference writes it", referencePath)
	}
}

const referenceHead = `# Command line

Written from the program's own grammar; ` + "`firekeep COMMAND --help`" + ` says the same.

Commands speak to the server at ` + "`--base-url`, `FIREKEEP_BASE_URL`, the profile's or `http://127.0.0.1:8080`" + `, with the key of ` + "`FIREKEEP_API_KEY`" + `, the profile
or, on loopback, of ` + "`admin.key` in the home (`--home`, `FIREKEEP_HOME` or `~/.firekeep`)" + `. ` + "`serve`, `doctor`, `fsck` and `version`" + ` need no server.
Names are bare ids of your account or full resource names; a bare model name is also looked up among the published ones.
` + "`list models` and `models list` mean `model list`" + `, and so for every noun.

Keys and secrets are never arguments, which every process of the host can read: they come from files or standard input.

Answers go to stdout, progress, warnings and errors to stderr. ` + "`--json`" + ` prints one JSON document, of an error too; what is followed gives one per line.
` + "`--wait` and `wait`" + ` redraw one line on a terminal and print a line for what is new elsewhere; they and ` + "`step logs -f`" + ` go on while the server is started again.
Characters that would act on a terminal are shown as ` + "`\\u001b`" + `, whoever wrote them; files go to pipes unchanged.

A **profile** keeps a server and its key under a name, in ` + "`~/.config/firekeep/config`" + ` (` + "`$XDG_CONFIG_HOME`" + `; mode 0600, any other is refused):
` + "`firekeep profile set prod --base-url https://rft.example.com --key-from key.txt --use`" + `. Flags stand above the environment, and that above the profile in use; a profile
that ` + "`--profile`" + ` names is a flag. The key of a profile is sent to that profile's server only.

**Completion**, with the names that are on the server: ` + "`source <(firekeep completion bash)`, `source <(firekeep completion zsh)` or `firekeep completion fish | source`" + `.

| exit code | meaning |
|---|---|
| 0 | done |
`

// codes is what the exit codes mean to a user; the first kind stands for all that
// share the code.
var codes = []struct {
	kind    rft.Kind
	meaning string
}{
	{rft.KindInternal, "the server or the program failed"},
	{rft.KindInvalidArgument, "an argument, a row or a file is wrong"},
	{rft.KindUnauthenticated, "no key, or one that is not valid"},
	{rft.KindNotFound, "not found"},
	{rft.KindAlreadyExists, "already exists"},
	{rft.KindPermissionDenied, "not allowed"},
	{rft.KindFailedPrecondition, "not possible in the present state"},
	{rft.KindCancelled, "cancelled or interrupted"},
	{rft.KindUnavailable, "not now: no answer, busy, or out of time"},
	{rft.KindUnimplemented, "this version cannot do it"},
	{rft.KindDataLoss, "something stored is damaged"},
}

// aliases are the other names of a command, as a summary has them.
var aliases = regexp.MustCompile(` \([a-z,-]+\)`)

func reference(t *testing.T) string {
	t.Helper()
	var g grammar
	parser, err := kong.New(&g, kong.Name("firekeep"))
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	b.WriteString(referenceHead)
	for _, c := range codes {
		fmt.Fprintf(&b, "| %d | %s |\n", c.kind.ExitCode(), c.meaning)
	}
	b.WriteString("\nFlags of every command:\n\n")
	flagTable(&b, parser.Model.Flags)
	for _, leaf := range parser.Model.Leaves(true) {
		fmt.Fprintf(&b, "\n## `firekeep %s`\n\n%s\n", aliases.ReplaceAllString(leaf.Summary(), ""), leaf.Help)
		rows := 0
		for _, p := range leaf.Positional {
			if rows == 0 {
				b.WriteString("\n")
			}
			rows++
			fmt.Fprintf(&b, "- `%s`: %s\n", strings.ToUpper(p.Name), cell(p.Help))
		}
		if flags := shownFlags(leaf.Flags); len(flags) > 0 {
			b.WriteString("\n")
			flagTable(&b, flags)
		}
	}
	return b.String()
}

func shownFlags(flags []*kong.Flag) []*kong.Flag {
	var out []*kong.Flag
	for _, f := range flags {
		if !f.Hidden && f.Name != "help" {
			out = append(out, f)
		}
	}
	return out
}

func flagTable(b *strings.Builder, flags []*kong.Flag) {
	b.WriteString("| flag | meaning |\n|---|---|\n")
	for _, f := range shownFlags(flags) {
		help := f.Help
		if f.HasDefault && f.Default != "" && !f.IsBool() {
			help += " Default " + f.Default + "."
		}
		name := f.String()
		switch {
		case len(f.Xor) > 0:
			help += " One of the flags marked so."
		case f.Required:
			help += " Required."
		}
		if f.Tag.Negatable != "" && f.Default == "true" {
			name = strings.Replace(name, "--", "--[no-]", 1)
			help += " On by default."
		}
		fmt.Fprintf(b, "| `%s` | %s |\n", cell(name), cell(help))
	}
}

// cell makes text safe inside a table.
func cell(s string) string { return strings.ReplaceAll(strings.TrimSpace(s), "|", `\|`) }
