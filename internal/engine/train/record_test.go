package train

import (
	"context"

	"github.com/firekeep/firekeep/internal/engine/rows"
)

// recorder keeps what Run reports; onMark runs inside Mark.
type recorder struct {
	metrics  []Metrics
	marks    []Mark
	warnings []string
	progress []Progress
	onMark   func(Mark) error
}

func (r *recorder) Metrics(m Metrics) error   { r.metrics = append(r.metrics, m); return nil }
func (r *recorder) Progress(p Progress) error { r.progress = append(r.progress, p); return nil }
func (r *recorder) Warning(s string) error    { r.warnings = append(r.warnings, s); return nil }
func (r *recorder) Mark(m Mark) error {
	r.marks = append(r.marks, m)
	if r.onMark != nil {
		return r.onMark(m)
	}
	return nil
}

// sourceOf yields groups for the given epochs, beginning at position from.
func sourceOf(groups []*rows.Encoded, epochs int, from int64) Source {
	n := int64(len(groups))
	at, ended := from, int(max(0, from-1)/n) // at a border the epoch's end comes first, once more
	return func(ctx context.Context) (Group, error) {
		if at == n*int64(ended+1) {
			ended++
			return Group{Epoch: ended - 1, Last: ended == epochs}, nil
		}
		at++
		return Group{Rows: groups[(at-1)%n], Position: at - 1}, nil
	}
}
