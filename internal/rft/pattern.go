package rft

import (
	"regexp"
	"sync"
)

// Matcher is a regular expression that is compiled when it is first used. Every
// command starts the whole program, and most use few of its patterns: compiled
// at once, those of keys and buckets cost more than the command.
type Matcher struct{ compiled func() *regexp.Regexp }

// Pattern is a Matcher. An expression that is wrong panics with the first use.
func Pattern(expr string) Matcher {
	return Matcher{sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(expr) })}
}

// MatchString is that of regexp.Regexp.
func (m Matcher) MatchString(s string) bool { return m.compiled().MatchString(s) }

// FindStringSubmatch is that of regexp.Regexp.
func (m Matcher) FindStringSubmatch(s string) []string { return m.compiled().FindStringSubmatch(s) }
