package child

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"

	"github.com/firekeep/firekeep/internal/engine/model"
	"github.com/firekeep/firekeep/internal/engine/tensorfile"
	"github.com/firekeep/firekeep/internal/wire"
)

// merge sends the prepared weights of a base with a LoRA merged into them.
func (w *worker) merge(t wire.MergeTask, weights wire.Weights) (any, error) {
	p, err := w.prepared(weights)
	if err != nil {
		return nil, err
	}
	config, err := w.blob("adapter-config")
	if err != nil {
		return nil, err
	}
	tensors, err := w.blob("adapter")
	if err != nil {
		return nil, err
	}
	shape := p.Config()
	adapter, err := model.ReadPEFT(&shape, config, tensors)
	if err != nil {
		return nil, err
	}
	return w.sendPrepared(func(ctx context.Context, out io.Writer) (tensorfile.Info, error) {
		return tensorfile.Merge(ctx, p, mergedFrom(p, config, tensors), adapter.Addend, out, tensorfile.Options{Name: t.Name, BFloat16: t.BFloat16})
	})
}

// mergedFrom is the digest of what merged weights are made from.
func mergedFrom(p *tensorfile.Prepared, config, tensors []byte) string {
	sum := sha256.Sum256(fmt.Appendf(nil, "base %s\nadapter_config.json %x\nadapter_model.safetensors %x\n", p.Source(), sha256.Sum256(config), sha256.Sum256(tensors)))
	return "sha256:" + hex.EncodeToString(sum[:])
}
