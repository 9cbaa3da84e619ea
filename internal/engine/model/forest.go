package model

// forest is the layout of a stage: the rows of branches and prompts. Of a tree
// whose prompt is in the stage, the branches come first and then the prompt, so
// that sums over rows run in the same order when the prompt is a stage of its
// own. Its slices are reused.
type forest struct {
	tokens    []int32
	positions []int32
	trees     []treeSpan
	segments  []segment // of all trees; treeSpan refers into it

	// Scored tokens in order of tree, branch and position: the row whose logits
	// predict the token (^row for a row of the trunk), and the token.
	scoreRows    []int32
	scoreTargets []int32
	samples      []sampleSpan
}

// segment is a run of rows at consecutive positions.
type segment struct {
	row, n, pos int
	prompt      int // index of the segment it attends to besides itself, or as below
}

// What a segment without a prompt in its stage attends to besides itself.
const (
	nothing  = -1
	theTrunk = -2
)

// treeSpan is a tree: its branches are segments[first:end], its prompt
// segments[prompt], or as segment.prompt says.
type treeSpan struct {
	first, end int
	prompt     int
}

// sampleSpan says which scored tokens belong to a branch.
type sampleSpan struct {
	tree, branch int
	lo, hi       int
}

func (f *forest) reset() {
	f.tokens, f.positions = f.tokens[:0], f.positions[:0]
	f.trees, f.segments = f.trees[:0], f.segments[:0]
	f.scoreRows, f.scoreTargets, f.samples = f.scoreRows[:0], f.scoreTargets[:0], f.samples[:0]
}

// whole lays out a tree, the index-th of the pass.
func (f *forest) whole(index int, t *Tree) {
	first, inputs := len(f.segments), 0
	for b := range t.Branches {
		inputs += t.Branches[b].inputs()
	}
	span := treeSpan{first: first, end: first + len(t.Branches), prompt: first + len(t.Branches)}
	last := int32(len(f.tokens) + inputs + len(t.Prompt) - 1)
	for b := range t.Branches {
		f.branch(index, b, t, span.prompt, last)
	}
	f.append(t.Prompt, 0, nothing)
	f.trees = append(f.trees, span)
}

// prompt lays out a trunk.
func (f *forest) prompt(t *Tree) {
	f.append(t.Prompt, 0, nothing)
	f.trees = append(f.trees, treeSpan{})
}

// branches lays out branches [first, end) of a tree, the index-th of the pass,
// behind its trunk.
func (f *forest) branches(index int, t *Tree, first, end int) {
	for b := first; b < end; b++ {
		f.branch(index, b, t, theTrunk, ^int32(len(t.Prompt)-1))
	}
	f.trees = append(f.trees, treeSpan{first: 0, end: end - first, prompt: theTrunk})
}

// branch lays out a branch and lists its scored tokens. The first token is
// predicted by the prompt's last row.
func (f *forest) branch(tree, index int, t *Tree, prompt int, last int32) {
	b := &t.Branches[index]
	own := f.append(b.Tokens[:b.inputs()], len(t.Prompt), prompt)
	lo := len(f.scoreRows)
	for i, scored := range b.Scored {
		if !scored {
			continue
		}
		row := int32(own.row + i - 1)
		if i == 0 {
			row = last
		}
		f.scoreRows = append(f.scoreRows, row)
		f.scoreTargets = append(f.scoreTargets, b.Tokens[i])
	}
	f.samples = append(f.samples, sampleSpan{tree: tree, branch: index, lo: lo, hi: len(f.scoreRows)})
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
