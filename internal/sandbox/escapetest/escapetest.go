//go:build linux

// Package escapetest is what a hostile engine would try: a table of attempts to
// get out of the sandbox, to reach the host, or to exhaust it. The tests of
// packages sandbox and broker run each attempt inside, where it must fail, and
// outside, where it must succeed unless the host cannot do it at all, so that a
// failure inside means something.
//
// No attempt harms a host that lets it pass: bombs are bounded and settings are
// written back as they were.
package escapetest

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"syscall"

	"golang.org/x/sys/unix"
)

// Scene is what the host's test has prepared, readable for the attempt's user.
type Scene struct {
	Parent  int     // the process that started the child
	Victim  int     // another process of the same user: this program, doing "victim"
	Address uintptr // of Treasure in the victim
	Host    string  // the host's name
	Secret  string  // a file that holds Treasure
	Dir     string  // a directory that everybody may write
	Open    int     // a descriptor of the parent without close-on-exec, open on Secret

	TCP4, TCP6, UDP int    // ports on loopback; a connection is greeted with Treasure
	Unix, Abstract  string // listening unix sockets that greet likewise
}

// Treasure is what attempts try to read.
const Treasure = "firekeep-treasure"

// Inherited descriptors of every attempt, inside and outside.
const (
	socketFD   = 3 // one end of a pair of unix sockets
	terminalFD = 4 // a pseudo terminal
	fileFD     = 5 // an empty file, open for writing
)

// Attempt is one thing that a hostile engine tries.
type Attempt struct {
	Name  string
	Group string
	What  string // one line for the table
	// Root: the host lets only its administrator do this, sandbox or not.
	Root bool
	// FilterOnly: the filter is the only wall. Such an attempt widens what the child
	// can ask of the kernel and reaches nobody by itself. All other attempts meet a
	// second wall when the filter is away.
	FilterOnly bool
	// Try returns nil when the attempt got through.
	Try func(*Scene) error
}

// All are the attempts in the order of their groups.
func All() []Attempt {
	return slices.Concat(files, processes, programs, privileges, kernel, network, resources, gates)
}

// Find returns the attempt of that name.
func Find(name string) (Attempt, bool) {
	all := All()
	i := slices.IndexFunc(all, func(a Attempt) bool { return a.Name == name })
	if i < 0 {
		return Attempt{}, false
	}
	return all[i], true
}

// Passed is what Main prints for an attempt that got through.
const Passed = "passed"

// Main makes one attempt: args are its name and the scene in JSON. It prints
// Passed or why not as one line and returns the exit code.
func Main(args []string) int {
	if len(args) != 2 {
		return 2
	}
	var s Scene
	if err := json.Unmarshal([]byte(args[1]), &s); err != nil {
		return 2
	}
	fmt.Println(Outcome(args[0], &s))
	return 0
}

// Outcome makes the named attempt and says what came of it.
func Outcome(name string, s *Scene) string {
	a, ok := Find(name)
	if !ok {
		return "no such attempt"
	}
	return Verdict(a.Try(s))
}

// Verdict is Passed, the name of the error number, or the error's text.
func Verdict(err error) string {
	var number syscall.Errno
	switch {
	case err == nil:
		return Passed
	case errors.As(err, &number):
		return unix.ErrnoName(number)
	}
	return err.Error()
}

// Lacking reports whether a verdict says that the host does not have what an
// attempt needs, whoever asks.
func Lacking(verdict string) bool {
	return slices.Contains([]string{"ENOSYS", "EAFNOSUPPORT", "EPROTONOSUPPORT", "ESOCKTNOSUPPORT", "EOPNOTSUPP", "ENODEV", "ENOENT", "EADDRNOTAVAIL", "not on this architecture"}, verdict)
}

var errArch = errors.New("not on this architecture")

// call makes a system call with up to six arguments.
func call(nr uintptr, args ...uintptr) error {
	_, err := result(nr, args...)
	return err
}

func result(nr uintptr, args ...uintptr) (uintptr, error) {
	var a [6]uintptr
	copy(a[:], args)
	r, _, errno := unix.Syscall6(nr, a[0], a[1], a[2], a[3], a[4], a[5])
	if errno != 0 {
		return 0, errno
	}
	return r, nil
}

// holds reports whether the bytes are the treasure.
func holds(b []byte, err error) error {
	switch {
	case err != nil:
		return err
	case len(b) < len(Treasure) || string(b[:len(Treasure)]) != Treasure:
		return errors.New("other bytes")
	}
	return nil
}

// readFD takes the treasure from a descriptor and closes it.
func readFD(fd int, err error) error {
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	b := make([]byte, len(Treasure))
	n, err := unix.Read(fd, b)
	return holds(b[:max(n, 0)], err)
}

// closing returns err after closing what an attempt opened.
func closing(fd int, err error) error {
	if err == nil {
		_ = unix.Close(fd)
	}
	return err
}

func cstr(s string) *byte { b, _ := unix.BytePtrFromString(s); return b }

// loot is what lies in the victim's memory.
var loot = [len(Treasure)]byte{}

// Victim prints the address of the treasure in this process and waits for the
// end of its input.
func Victim() int {
	copy(loot[:], Treasure)
	fmt.Printf("%d\n", ptr(&loot))
	_, _ = os.Stdin.Read(make([]byte, 1))
	return 0
}
