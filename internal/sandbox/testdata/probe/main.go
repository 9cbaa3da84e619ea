// Command probe is the child of the sandbox's tests: it tries one act and
// prints what came of it as one line.
package main

import (
	"fmt"
	"os"
)

func main() {
	acts["narrow"] = narrowed
	if len(os.Args) < 2 {
		os.Exit(2)
	}
	act, ok := acts[os.Args[1]]
	if !ok {
		fmt.Println("no such act")
		os.Exit(2)
	}
	fmt.Println(act(os.Args[2:]))
}
