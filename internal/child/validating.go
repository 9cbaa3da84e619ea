package child

import (
	"io"

	"github.com/firekeep/firekeep/internal/engine/rows"
	"github.com/firekeep/firekeep/internal/wire"
)

// validate streams the objects of a dataset through the validator. Only byte
// ranges and counts go back.
func (w *worker) validate(t wire.ValidateTask) (any, error) {
	v, err := rows.NewValidator(t.Format, func(c rows.Chunk) error { return w.conn.Send(w.ctx, wire.Chunk(c)) })
	if err != nil {
		return nil, err
	}
	buf := make([]byte, 256<<10)
	for {
		m, err := w.conn.Receive(w.ctx)
		if err != nil {
			return nil, err
		}
		switch m := m.(type) {
		case wire.EpochEnd:
			summary, err := v.Finish()
			return wire.ValidateDone(summary), err
		case *wire.Inbound:
			if m.Name != "dataset" {
				return nil, unexpected(m)
			}
			v.Begin(m.Path)
			if _, err := io.CopyBuffer(struct{ io.Writer }{v}, cancellable{w.ctx, m}, buf); err != nil {
				return nil, err
			}
			if err := v.End(); err != nil {
				return nil, err
			}
		default:
			return nil, unexpected(m)
		}
	}
}
