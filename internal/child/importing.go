package child

import (
	"context"
	"io"

	"github.com/firekeep/firekeep/internal/engine/tensorfile"
	"github.com/firekeep/firekeep/internal/wire"
)

// importModel takes the files of a model and sends prepared weights.
func (w *worker) importModel(t wire.ImportTask) (any, error) {
	src := &tensorfile.Source{}
	if err := w.receiveFiles(src); err != nil {
		return nil, err
	}
	return w.sendPrepared(func(ctx context.Context, out io.Writer) (tensorfile.Info, error) {
		return tensorfile.Prepare(ctx, src, out, tensorfile.Options{Name: t.Name, Check: checkText, BFloat16: t.BFloat16})
	})
}

// sendPrepared sends the prepared weights that write makes.
func (w *worker) sendPrepared(write func(ctx context.Context, out io.Writer) (tensorfile.Info, error)) (any, error) {
	out, err := w.conn.OpenStream(w.ctx, wire.Open{Name: "prepared", Size: -1})
	if err != nil {
		return nil, err
	}
	info, err := write(w.ctx, out)
	if err != nil {
		return nil, err
	}
	if err := out.Close(); err != nil {
		return nil, err
	}
	return wire.ImportDone{Config: info.Config, Parameters: info.Parameters, Size: info.Size, SHA256: info.SHA256,
		Source: info.Source, HasChat: info.HasChat}, nil
}

// receiveFiles fills src until the broker says that there are no more.
func (w *worker) receiveFiles(src *tensorfile.Source) error {
	for {
		m, err := w.conn.Receive(w.ctx)
		if err != nil {
			return err
		}
		switch m := m.(type) {
		case wire.EpochEnd:
			return nil
		case *wire.Inbound:
			if m.Name != "model-file" {
				return unexpected(m)
			}
			if err := src.Add(w.ctx, m.Path, m.Size, cancellable{w.ctx, m}); err != nil {
				return err
			}
		default:
			return unexpected(m)
		}
	}
}
