package model

import (
	"math"

	"github.com/firekeep/firekeep/internal/engine"
)

// Rotary holds the rotations of positions 0..n-1: row p of Cos and Sin has
// HeadDim/2 values.
type Rotary struct {
	Cos, Sin []float32 // [positions, Half]
	Half     int
}

// NewRotary computes the rotations of the given number of positions. The
// frequencies and the angles are rounded to float32 where transformers rounds
// them, because that is what the models were trained with.
func NewRotary(cfg *engine.Config, positions int) *Rotary {
	half := cfg.HeadDim / 2
	r := &Rotary{Cos: make([]float32, positions*half), Sin: make([]float32, positions*half), Half: half}
	for i, f := range ropeFrequencies(cfg) {
		for p := range positions {
			sin, cos := math.Sincos(float64(float32(p) * f))
			r.Cos[p*half+i], r.Sin[p*half+i] = float32(cos), float32(sin)
		}
	}
	return r
}

// Rotaries are the rotations of a model's layers.
type Rotaries struct {
	cfg           *engine.Config
	global, local *Rotary
}

// NewRotaries computes the rotations of the given number of positions.
func NewRotaries(cfg *engine.Config, positions int) *Rotaries {
	r := &Rotaries{cfg: cfg, global: NewRotary(cfg, positions)}
	r.local = r.global
	if cfg.LocalTheta != 0 {
		near := *cfg
		near.RopeTheta, near.RopeScaling = cfg.LocalTheta, nil
		r.local = NewRotary(&near, positions)
	}
	return r
}

// Of returns the rotations of a layer, nil for one that does not rotate.
func (r *Rotaries) Of(layer int) *Rotary {
	switch r.cfg.Kind(layer).Rope {
	case engine.RopeLocal:
		return r.local
	case engine.RopeNone:
		return nil
	}
	return r.global
}

// At returns the rotation of position p: HeadDim/2 cosines and sines.
func (r *Rotary) At(p int) (cos, sin []float32) {
	return r.Cos[p*r.Half : (p+1)*r.Half], r.Sin[p*r.Half : (p+1)*r.Half]
}

// ropeFrequencies returns the HeadDim/2 angular frequencies per position.
func ropeFrequencies(cfg *engine.Config) []float32 {
	half := cfg.HeadDim / 2
	f := make([]float32, half)
	for i := range f {
		f[i] = scaleFrequency(cfg.RopeScaling, 1/math.Pow(cfg.RopeTheta, float64(2*i)/float64(cfg.HeadDim)))
	}
	return f
}

// scaleFrequency applies Llama 3's scaling: long waves are slowed down by
// Factor, short ones stay, those between are blended.
func scaleFrequency(s *engine.RopeScaling, f float64) float32 {
	if s == nil {
		return float32(f)
	}
	if s.Type == "linear" {
		return float32(f / s.Factor)
	}
	wave := 2 * math.Pi / f
	longest := float64(s.OriginalMaxPos) / s.LowFreqFactor
	shortest := float64(s.OriginalMaxPos) / s.HighFreqFactor
	switch {
	case wave < shortest:
		return float32(f)
	case wave > longest:
		return float32(f / s.Factor)
	}
	blend := (float64(s.OriginalMaxPos)/wave - s.LowFreqFactor) / (s.HighFreqFactor - s.LowFreqFactor)
	return float32((1-blend)*f/s.Factor + blend*f)
}
