package model

import "github.com/firekeep/firekeep/internal/engine/rows"

// BuildTree makes a tree of the given samples of a group (indices into
// e.Samples; branch i is samples[i]). The prompt is their longest common token
// prefix that stops before the first scored token of any of them. A branch ends
// with its last scored token: nothing behind it matters. A sample without
// scored tokens becomes a branch without tokens.
func BuildTree(e *rows.Encoded, samples []int) *Tree {
	prompt := sharedPrefix(e, samples)
	t := &Tree{Branches: make([]Branch, len(samples))}
	for i, s := range samples {
		x := &e.Samples[s]
		end := lastScored(x.Scored) + 1
		if end > prompt {
			t.Branches[i] = Branch{Tokens: x.IDs[prompt:end], Scored: x.Scored[prompt:end]}
			t.Prompt = x.IDs[:prompt]
		}
	}
	return t
}

// sharedPrefix returns the length of the prompt of the samples that have a
// scored token.
func sharedPrefix(e *rows.Encoded, samples []int) int {
	var first []int32
	for _, s := range samples {
		x := &e.Samples[s]
		n := firstScored(x.Scored)
		if n < 0 {
			continue
		}
		if first == nil {
			first = x.IDs[:n]
			continue
		}
		n = min(n, len(first))
		for i := range n {
			if x.IDs[i] != first[i] {
				n = i
				break
			}
		}
		first = first[:n]
	}
	return len(first)
}

func firstScored(scored []bool) int {
	for i, s := range scored {
		if s {
			return i
		}
	}
	return -1
}

func lastScored(scored []bool) int {
	for i := len(scored) - 1; i >= 0; i-- {
		if scored[i] {
			return i
		}
	}
	return -1
}

// Scores counts the scored tokens of a branch.
func (b *Branch) Scores() int {
	n := 0
	for _, s := range b.Scored {
		if s {
			n++
		}
	}
	return n
}

// inputs is the number of tokens of the branch that go through the model: the
// last scored token is only predicted.
func (b *Branch) inputs() int { return max(0, len(b.Tokens)-1) }

// Computed is the number of tokens that a pass over the tree computes.
func (t *Tree) Computed() int {
	n := len(t.Prompt)
	for i := range t.Branches {
		n += t.Branches[i].inputs()
	}
	return n
}
