package rows

import (
	"bytes"
	"crypto/sha256"
	"hash"
	"maps"
	"slices"
	"strings"

	"github.com/firekeep/firekeep/internal/engine"
)

// Chunk lists groups that lie one behind another in one object. It has the
// fields of wire.Chunk and converts to it.
type Chunk struct {
	Object    int
	Offset    int64 // of the first group's first byte
	FirstLine int64
	Lengths   []int64 // bytes per group, with newlines and the blank lines behind it
	Lines     []int32
}

// Summary counts what was validated. It has the fields of wire.ValidateDone
// and converts to it.
type Summary struct {
	Format          string
	Rows            int64
	Groups          int64
	Samples         int64
	SamplesPerGroup int // 0 = they differ
	WithLogprobs    int64
	EvalKeys        []string // present in every sample
	Turns           int64
	Bytes           int64
	Warnings        []string
}

// Bounds of one chunk. Groups of supervised rows are bounded too: they travel
// in one frame.
const (
	chunkBytes  = 8 << 20
	chunkGroups = 4096
	maxEvalKeys = 256
)

// Validator checks a dataset by streaming: objects one after another, their
// bytes in any pieces. It holds one line and the open chunk.
type Validator struct {
	emit    func(Chunk) error
	want    string // format asked for, "" = that of the first row
	sum     Summary
	evals   map[string]bool
	object  string
	line    int64
	partial []byte
	chunk   Chunk
	size    int64 // of the open chunk
	at      int64 // offset of the next byte in the object
	prompt  [sha256.Size]byte
	samples int64 // of the open supervised group
	perRow  int   // samples of the first RL row
	uneven  bool
	single  bool
	// requests are the custom_ids so far of a batch.
	requests map[requestID]struct{}
	err      error
}

// NewValidator starts a validation. emit gets the chunks as they are full.
func NewValidator(format string, emit func(Chunk) error) (*Validator, error) {
	if format != "" && !slices.Contains(Formats, format) {
		return nil, problem(0, 0, RuleFormat, "", "format %.20q is unknown; known are %s", format, strings.Join(Formats, ", "))
	}
	return &Validator{emit: emit, want: format, single: true, chunk: Chunk{Object: -1}}, nil
}

// Begin opens the next object; name is shown in problems.
func (v *Validator) Begin(name string) {
	v.object, v.line, v.at, v.partial = name, 0, 0, v.partial[:0]
	v.chunk = Chunk{Object: v.chunk.Object + 1}
	v.size, v.samples = 0, 0
}

// Write takes the next bytes of the object. After an error it returns the same
// error again.
func (v *Validator) Write(p []byte) (int, error) {
	n := len(p)
	for len(p) > 0 && v.err == nil {
		end := bytes.IndexByte(p, '\n')
		if end < 0 {
			if len(v.partial)+len(p) > MaxLine {
				v.err = v.located(problem(v.line+1, 0, RuleLineTooLong, "", "the line has more than %d bytes", MaxLine))
				break
			}
			v.partial = append(v.partial, p...)
			break
		}
		line := p[:end]
		if len(v.partial) > 0 {
			v.partial = append(v.partial, line...)
			line = v.partial
		}
		v.err = v.row(line, int64(len(line)+1))
		p, v.partial = p[end+1:], v.partial[:0]
	}
	return n, v.err
}

// End closes the object; a last line needs no newline.
func (v *Validator) End() error {
	if v.err == nil && len(v.partial) > 0 {
		v.err = v.row(v.partial, int64(len(v.partial)))
		v.partial = v.partial[:0]
	}
	if v.err == nil {
		v.err = v.flush()
	}
	return v.err
}

// Finish returns the counts; a dataset without rows is a problem.
func (v *Validator) Finish() (Summary, error) {
	if v.err != nil {
		return Summary{}, v.err
	}
	if v.sum.Rows == 0 {
		return Summary{}, problem(0, 0, RuleNoSamples, "", "the dataset has no rows")
	}
	if v.uneven {
		v.sum.SamplesPerGroup = 0
	}
	if v.want == FormatBatch { // nothing of it is a sample
		v.sum.SamplesPerGroup, v.single = 0, false
	}
	if v.single {
		v.sum.Warnings = append(v.sum.Warnings, "every group has one sample: advantages will be taken over the batch (advantageBaseline batch), which learns less than several samples per prompt")
	}
	v.sum.EvalKeys = slices.Sorted(maps.Keys(v.evals))
	return v.sum, nil
}

func (v *Validator) located(p *engine.Problem) error {
	p.Object = v.object
	return p
}

// row checks one line of size bytes, newline included.
func (v *Validator) row(line []byte, size int64) error {
	v.line++
	offset := v.at
	v.at += size
	v.sum.Bytes += size
	if len(bytes.TrimSpace(line)) == 0 {
		if n := len(v.chunk.Lines); n > 0 { // blank lines belong to the group before
			v.chunk.Lengths[n-1] += size
			v.chunk.Lines[n-1]++
			v.size += size
		}
		return nil
	}
	r, err := parseRow(line, v.line, false)
	if err != nil {
		return v.located(err.(*engine.Problem))
	}
	if v.want == "" {
		v.want = r.format
	}
	if r.format != v.want {
		return v.located(problem(v.line, 0, RuleMixed, "", "the row has the format %s, the dataset %s", r.format, v.want))
	}
	if bad := v.unique(&r); bad != nil {
		return v.located(bad)
	}
	if n := len(r.samples); r.format == FormatRL && v.perRow != 0 && n != v.perRow {
		return v.located(problem(v.line, 0, RuleUneven, "samples", "the row has %d samples, the rows before it have %d; every row needs the same number", n, v.perRow))
	}
	v.perRow = len(r.samples)
	return v.place(&r, offset, size)
}

// place counts a row and puts it into the open group or a new one.
func (v *Validator) place(r *row, offset, size int64) error {
	v.count(r)
	if v.joins(r) {
		n := len(v.chunk.Lengths) - 1
		v.samples++
		if v.samples > MaxSamples || v.chunk.Lengths[n]+size > MaxLine {
			return v.located(problem(v.line, 0, RuleTooManySamples, "messages",
				"more than %d adjacent rows, or %d bytes of them, have the same prompt", MaxSamples, MaxLine))
		}
		v.chunk.Lengths[n] += size
		v.chunk.Lines[n]++
		v.size += size
		return nil
	}
	if err := v.closeGroup(); err != nil {
		return err
	}
	if v.size >= chunkBytes || len(v.chunk.Lengths) >= chunkGroups {
		if err := v.emitChunk(); err != nil {
			return err
		}
	}
	if len(v.chunk.Lengths) == 0 {
		v.chunk.Offset, v.chunk.FirstLine = offset, v.line
	}
	v.chunk.Lengths, v.chunk.Lines = append(v.chunk.Lengths, size), append(v.chunk.Lines, 1)
	v.size += size
	v.samples = int64(max(len(r.samples), 1))
	return nil
}

// joins says that a supervised row continues the open group.
func (v *Validator) joins(r *row) bool {
	if !oneSample(r.format) {
		return false
	}
	s := &r.samples[0]
	h := sha256.New()
	if s.Messages == nil {
		h.Write([]byte(s.Prompt))
		return v.samePrompt(h)
	}
	for _, t := range s.Turns[:s.promptTurns()] {
		h.Write(t.raw)
		h.Write([]byte{'\n'})
	}
	h.Write(s.Tools)
	return v.samePrompt(h)
}

// samePrompt remembers the hash of a row's prompt and says whether the row before
// had the same.
func (v *Validator) samePrompt(h hash.Hash) bool {
	was := v.prompt
	h.Sum(v.prompt[:0])
	return v.samples > 0 && was == v.prompt
}

// closeGroup counts the open group and compares its size with the others'.
func (v *Validator) closeGroup() error {
	if v.samples == 0 {
		return nil
	}
	n := int(v.samples)
	v.samples = 0
	v.sum.Groups++
	v.single = v.single && n == 1
	if v.sum.SamplesPerGroup == 0 {
		v.sum.SamplesPerGroup = n
	}
	v.uneven = v.uneven || n != v.sum.SamplesPerGroup
	return nil
}

func (v *Validator) flush() error {
	if err := v.closeGroup(); err != nil {
		return err
	}
	return v.emitChunk()
}

func (v *Validator) emitChunk() error {
	if len(v.chunk.Lengths) == 0 {
		return nil
	}
	out := v.chunk
	v.chunk, v.size = Chunk{Object: out.Object}, 0
	return v.emit(out)
}

func (v *Validator) count(r *row) {
	v.sum.Format = r.format
	v.sum.Rows++
	v.sum.Samples += int64(len(r.samples))
	for i := range r.samples {
		s := &r.samples[i]
		v.sum.Turns += int64(len(s.Turns))
		if s.HasLogprobs {
			v.sum.WithLogprobs++
		}
		v.keepEvals(s)
	}
}

// keepEvals intersects the keys seen so far with those of a sample.
func (v *Validator) keepEvals(s *Sample) {
	if v.evals == nil {
		v.evals = map[string]bool{}
		for _, e := range s.Evals[:min(len(s.Evals), maxEvalKeys)] {
			v.evals[e.Key] = true
		}
		return
	}
	for key := range v.evals {
		if _, ok := s.reward(key); !ok {
			delete(v.evals, key)
		}
	}
}

func sortedKeys(m map[string]float64) []string { return slices.Sorted(maps.Keys(m)) }
