package token

import (
	"unicode/utf8"
)

// pattern is a compiled split pattern: a small backtracking matcher, because
// split patterns need lookahead, which package regexp lacks. A quantified
// group may not contain another unbounded quantifier, so the work for one
// match is polynomial, and stepBudget cuts even that.
type pattern struct {
	prog []inst
}

type op uint8

const (
	opMatch  op = iota
	opSet       // one rune of set
	opRepeat    // min..max runes of set, greedy
	opSplit     // try x, then y
	opJump      // to x
	opLook      // lookahead: program at pc+1 up to its opMatch, then x; neg inverts
)

type inst struct {
	op       op
	neg      bool
	set      *runeSet
	min, max int // max -1 = unbounded
	x, y     int
}

// stepBudget bounds the steps of one match; real patterns need a handful per
// byte matched.
const stepBudget = 1 << 22

// matcher is the state of one match attempt.
type matcher struct {
	prog  []inst
	text  string
	steps int
}

// match returns the end of the match that starts at pos, -1 without one.
func (p *pattern) match(text string, pos int) int {
	m := matcher{prog: p.prog, text: text, steps: stepBudget}
	return m.run(0, pos)
}

func (m *matcher) run(pc, pos int) int {
	for {
		if m.steps--; m.steps < 0 {
			return -1
		}
		in := &m.prog[pc]
		switch in.op {
		case opMatch:
			return pos
		case opSet:
			n := in.set.match(m.text, pos)
			if n == 0 {
				return -1
			}
			pos, pc = pos+n, pc+1
		case opRepeat:
			return m.repeat(in, pc+1, pos)
		case opSplit:
			if end := m.run(in.x, pos); end >= 0 {
				return end
			}
			pc = in.y
		case opJump:
			pc = in.x
		case opLook:
			if (m.run(pc+1, pos) >= 0) == in.neg {
				return -1
			}
			pc = in.x
		}
	}
}

// repeat takes as many runes as it can and gives them back one by one.
func (m *matcher) repeat(in *inst, next, pos int) int {
	end, count := pos, 0
	for in.max < 0 || count < in.max {
		n := in.set.match(m.text, end)
		if n == 0 {
			break
		}
		end, count = end+n, count+1
	}
	for ; count >= in.min; count-- {
		if got := m.run(next, end); got >= 0 {
			return got
		}
		if m.steps < 0 || count == 0 {
			return -1
		}
		_, n := utf8.DecodeLastRuneInString(m.text[pos:end])
		end -= n
	}
	return -1
}

// split calls emit for every match and for every gap between matches.
func (p *pattern) split(text string, emit func(piece string, matched bool)) {
	gap := 0
	for pos := 0; pos < len(text); {
		end := p.match(text, pos)
		if end <= pos {
			_, n := utf8.DecodeRuneInString(text[pos:])
			pos += n
			continue
		}
		if gap < pos {
			emit(text[gap:pos], false)
		}
		emit(text[pos:end], true)
		pos, gap = end, end
	}
	if gap < len(text) {
		emit(text[gap:], false)
	}
}
