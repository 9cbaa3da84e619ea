// Command tinymodel writes the tests' tiny model: tinymodel DIR
package main

import (
	"fmt"
	"os"

	"github.com/firekeep/firekeep/internal/e2e/tiny"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: tinymodel DIR")
		os.Exit(2)
	}
	if err := tiny.Write(os.Args[1], tiny.Default, 1); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
