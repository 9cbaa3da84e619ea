package model

// forest is the layout of a micro-batch: the trees' tokens one behind another,
// per tree the prompt first and then the branches. Its slices are reused.
type forest struct {
	tokens    []int32
	positions []int32
	trees     []treeSpan
	segments  []segment // of all trees; treeSpan refers into it

	// Scored tokens in order of tree, branch and position: the row whose logits
	// predict the token, and the token.
	scoreRows    []int32
	scoreTargets []int32
	samples      []sampleSpan

	maxKeys int // longest sequence of a branch with its prompt
}

// segment is a run of rows at consecutive positions.
type segment struct {
	row, n, pos int
	prompt      int // index of the segment it attends to besides itself, -1 for a prompt
}

// treeSpan is a tree: segments[prompt] and segments[first:end].
type treeSpan struct {
	prompt, end int // segments[prompt] is the prompt, the branches follow
}

// sampleSpan says which scored tokens belong to a branch.
type sampleSpan struct {
	tree, branch int
	lo, hi       int
}

// lay computes the layout of trees.
func (f *forest) lay(trees []*Tree) {
	f.tokens, f.positions = f.tokens[:0], f.positions[:0]
	f.trees, f.segments = f.trees[:0], f.segments[:0]
	f.scoreRows, f.scoreTargets, f.samples = f.scoreRows[:0], f.scoreTargets[:0], f.samples[:0]
	f.maxKeys = 0
	for t, tree := range trees {
		span := treeSpan{prompt: len(f.segments)}
		prompt := f.append(tree.Prompt, 0, -1)
		for b := range tree.Branches {
			branch := &tree.Branches[b]
			s := f.append(branch.Tokens[:branch.inputs()], len(tree.Prompt), span.prompt)
			f.maxKeys = max(f.maxKeys, prompt.n+s.n)
			f.score(t, b, branch, prompt, s)
		}
		f.maxKeys = max(f.maxKeys, prompt.n)
		span.end = len(f.segments)
		f.trees = append(f.trees, span)
	}
}

func (f *forest) append(tokens []int32, pos, prompt int) segment {
	s := segment{row: len(f.tokens), n: len(tokens), pos: pos, prompt: prompt}
	f.tokens = append(f.tokens, tokens...)
	for i := range tokens {
		f.positions = append(f.positions, int32(pos+i))
	}
	f.segments = append(f.segments, s)
	return s
}

// score lists the scored tokens of a branch. The branch's first token is
// predicted by the prompt's last row.
func (f *forest) score(tree, branch int, b *Branch, prompt, own segment) {
	lo := len(f.scoreRows)
	for i, scored := range b.Scored {
		if !scored {
			continue
		}
		row := own.row + i - 1
		if i == 0 {
			row = prompt.row + prompt.n - 1
		}
		f.scoreRows = append(f.scoreRows, int32(row))
		f.scoreTargets = append(f.scoreTargets, b.Tokens[i])
	}
	f.samples = append(f.samples, sampleSpan{tree: tree, branch: branch, lo: lo, hi: len(f.scoreRows)})
}
