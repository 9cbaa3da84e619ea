package cli

import (
	"slices"
	"strings"

	"github.com/alecthomas/kong"
)

// alsoCalled are the names that users of firectl know nouns by. They are not in the
// grammar, which would repeat them in every line of its help.
var alsoCalled = map[string]string{
	"rlor-trainer-job": "step", "rlorj": "step", "sftj": "sft", "supervised-fine-tuning-job": "sft", "dpoj": "dpo", "dpo-job": "dpo", "batch-inference-job": "batch", "bij": "batch",
	"api-key": "key", "audit-logs": "audit",
}

// nounFirst turns the other order of words into this program's: `list models` and
// `models list` are `model list`. What it does not know it leaves alone.
func nounFirst(root *kong.Node, args []string) []string {
	at, first := place{node: root}, 0
	for first < len(args) && (at.flag != nil || strings.HasPrefix(args[first], "-")) {
		at.step(&app{}, args[first])
		first++
	}
	before, words := args[:first], args[first:]
	if len(words) == 0 {
		return args
	}
	if n := command(root, words[0]); n != nil {
		return slices.Concat(before, []string{n.Name}, words[1:])
	}
	if n := noun(root, words[0]); n != nil { // models list
		return slices.Concat(before, []string{n.Name}, words[1:])
	}
	if len(words) < 2 {
		return args
	}
	n := noun(root, words[1])
	if n == nil || command(n, words[0]) == nil {
		return args
	}
	return slices.Concat(before, []string{n.Name, words[0]}, words[2:])
}

// command is the child that a word names, by its name or another one that it has.
func command(n *kong.Node, word string) *kong.Node {
	for _, child := range n.Children {
		if child.Name == word || slices.Contains(child.Aliases, word) || n.Parent == nil && alsoCalled[word] == child.Name {
			return child
		}
	}
	return nil
}

// noun is the command of a word in singular or plural.
func noun(root *kong.Node, word string) *kong.Node {
	for _, form := range []string{word, strings.TrimSuffix(word, "s"), strings.TrimSuffix(word, "ies") + "y"} {
		if n := command(root, form); n != nil && len(n.Children) > 0 {
			return n
		}
	}
	return nil
}

// openlySecret are flags that other programs take secrets by. Here there are none:
// what is on a command line can be read by every process of the host.
var openlySecret = []string{"--api-key", "--key", "--value", "--password", "--token", "--secret"}

// secretHint says where a secret goes that was given as an argument.
func secretHint(args []string) string {
	for _, arg := range args {
		flag, _, _ := strings.Cut(arg, "=")
		if slices.Contains(openlySecret, flag) {
			return "keys and secrets are never arguments, which every process of the host can read: a value comes from standard input or a file (--from), an API key from FIREKEEP_API_KEY or `firekeep profile set`"
		}
	}
	return ""
}
