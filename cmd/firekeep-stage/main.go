// Command firekeep-stage is a sandboxed child between its birth and the start
// of the engine. It is a program of its own because the server, which could do
// the same, links the clients of three clouds and initialises them all before
// its first line: 50 ms for every child.
package main

import (
	"fmt"
	"os"

	"github.com/firekeep/firekeep/internal/sandbox"
)

func main() {
	sandbox.Init() // does not return where the launcher started it
	fmt.Fprintln(os.Stderr, "firekeep-stage: only firekeep's launcher starts this program")
	os.Exit(2)
}
