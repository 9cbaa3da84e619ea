package cli

import (
	"fmt"
	"io"
	"strconv"
	"strings"
	"sync"
	"unicode/utf8"
)

// cleaner keeps what others wrote from acting on the terminal: names, messages
// and answers come from a server, and an escape sequence in one could move the
// cursor, change the title, or hide what the line really says. Control characters
// but newline and tab become \u001b, which is also how JSON spells them, so that
// a document stays the same document.
type cleaner struct {
	mu   sync.Mutex
	to   io.Writer
	part []byte // beginning of a character that the next write continues
}

// Write implements io.Writer.
func (c *cleaner) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	in := append(c.part, p...)
	out := make([]byte, 0, len(in))
	for len(in) > 0 && utf8.FullRune(in) {
		r, n := utf8.DecodeRune(in)
		out = appendShown(out, r)
		in = in[n:]
	}
	c.part = append([]byte(nil), in...)
	if _, err := c.to.Write(out); err != nil {
		return 0, err
	}
	return len(p), nil
}

// flush writes what is left of a character that never ended.
func (c *cleaner) flush() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.part) > 0 {
		_, _ = io.WriteString(c.to, string(utf8.RuneError))
		c.part = nil
	}
}

// appendShown appends a character as it may be shown.
func appendShown(out []byte, r rune) []byte {
	if r != '\n' && r != '\t' && acts(r) {
		return fmt.Appendf(out, `\u%04x`, r)
	}
	return utf8.AppendRune(out, r)
}

// acts reports whether a character does something instead of being shown:
// controls of both tables, line separators, and what changes the direction of a
// line.
func acts(r rune) bool {
	switch {
	case r < 0x20, r >= 0x7f && r <= 0x9f:
		return true
	case r == 0x061c, r == 0x200e, r == 0x200f, r == 0x2028, r == 0x2029, r >= 0x202a && r <= 0x202e, r >= 0x2066 && r <= 0x2069:
		return true
	}
	return false
}

// oneLine is a text that someone else wrote as part of a line of ours: a newline
// in it must not begin a line, nor a tab a column.
func oneLine(s string) string {
	if strings.IndexFunc(s, acts) < 0 && utf8.ValidString(s) {
		return s
	}
	out := make([]byte, 0, len(s)+8)
	for _, r := range s {
		switch r {
		case '\n':
			out = append(out, `\n`...)
		case '\t':
			out = append(out, `\t`...)
		default:
			out = appendShown(out, r)
		}
	}
	return string(out)
}

// columns is the width of the terminal, or of what stands for one.
func (a *app) columns() int {
	const narrowest, widest, usual = 20, 1000, 80
	n := 0
	if a.Width != nil {
		n = a.Width()
	}
	if n == 0 {
		n, _ = strconv.Atoi(a.Env("COLUMNS"))
	}
	if n == 0 {
		return usual
	}
	return min(max(n, narrowest), widest)
}

// cut shortens a line to a number of characters, so that a terminal does not
// wrap it: a wrapped line cannot be redrawn.
func cut(s string, width int) string {
	if utf8.RuneCountInString(s) <= width {
		return s
	}
	r := []rune(s)
	return string(r[:max(width-1, 0)]) + "…"
}

// bytesOut is where the content of a file goes: exactly as it is, except on a
// terminal.
func (a *app) bytesOut() io.Writer {
	if a.OutTerminal {
		return a.Stdout
	}
	return a.rawOut
}
