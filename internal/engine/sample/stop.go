package sample

import "strings"

// stopper finds stop strings in text that arrives in pieces, and holds back
// what could still become one. The stop strings are not empty and valid UTF-8,
// so every cut lies between characters.
type stopper struct {
	stops []string
	held  string
}

// push takes more text and returns what is safe to show. With hit, a stop
// string follows it and the text ends there.
func (s *stopper) push(text string) (out string, hit bool) {
	if len(s.stops) == 0 {
		return text, false
	}
	s.held += text
	first := -1
	for _, stop := range s.stops {
		if i := strings.Index(s.held, stop); i >= 0 && (first < 0 || i < first) {
			first = i
		}
	}
	if first >= 0 {
		out, s.held = s.held[:first], ""
		return out, true
	}
	keep := 0
	for _, stop := range s.stops {
		for n := min(len(stop)-1, len(s.held)); n > keep; n-- {
			if strings.HasSuffix(s.held, stop[:n]) {
				keep = n
			}
		}
	}
	cut := len(s.held) - keep
	out, s.held = s.held[:cut], s.held[cut:]
	return out, false
}

// flush returns what was held back: no more text follows.
func (s *stopper) flush() string {
	out := s.held
	s.held = ""
	return out
}
