package model

import "github.com/firekeep/firekeep/internal/engine/kernel"

// matrices are the weights that passes multiply with, each once.
func (m *Model) matrices() []*kernel.Packed {
	list := []*kernel.Packed{m.Head}
	for l := range m.Layers {
		for _, w := range m.Layers[l].Linear {
			if w != nil {
				list = append(list, w)
			}
		}
	}
	return list
}

// BF16Missing is how many values UseBF16 needs memory for: those of weights
// that were not prepared in bfloat16.
func (m *Model) BF16Missing() int {
	n := 0
	for _, w := range m.matrices() {
		if w.BF16 == nil && m.prepared[w] == nil {
			n += kernel.BF16Len(w.N, w.K)
		}
	}
	return n
}

// UseBF16 makes every product with base weights one in bfloat16, and with a matrix
// unit the backward products of attention and LoRA too; see package kernel. The
// forward of both stays float32, as the sampler's is, so that log-probs agree, on keys and values
// that both round;
// embeddings, norms, softmax and the optimiser stay float32.
// memory holds BF16Missing values and belongs to m from now on.
func (m *Model) UseBF16(pool *kernel.Pool, memory []uint16) {
	for _, w := range m.matrices() {
		if w.BF16 != nil {
			continue
		}
		if half := m.prepared[w]; half != nil {
			w.BF16 = half
			continue
		}
		n := kernel.BF16Len(w.N, w.K)
		b := memory[:n:n]
		memory = memory[n:]
		panel := kernel.BF16Len(1, w.K)
		pool.Do(panelsOf(w.N), 1, func(_, lo, hi int) {
			room := make([]float32, kernel.Panel*w.K)
			for p := lo; p < hi; p++ {
				kernel.PackPanelBF16(b[p*panel:], w.Floats(room, p), w.K)
			}
		})
		w.BF16 = b
	}
}
