package cli

import (
	"slices"
	"strings"

	"github.com/alecthomas/kong"
)

// nounFirst turns the other order of words into this program's: `list models` and
// `models list` are `model list`. What it does not know it leaves alone.
func nounFirst(root *kong.Node, args []string) []string {
	if len(args) == 0 || command(root, args[0]) != nil {
		return args
	}
	if n := noun(root, args[0]); n != nil { // models list
		return append([]string{n.Name}, args[1:]...)
	}
	if len(args) < 2 {
		return args
	}
	n := noun(root, args[1])
	if n == nil || command(n, args[0]) == nil {
		return args
	}
	return append([]string{n.Name, args[0]}, args[2:]...)
}

// command is the child that a word names, by its name or an alias.
func command(n *kong.Node, word string) *kong.Node {
	for _, child := range n.Children {
		if child.Name == word || slices.Contains(child.Aliases, word) {
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
