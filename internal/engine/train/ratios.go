package train

import (
	"math"
	"slices"
)

// ratios is a histogram of log-ratios: bin i counts those that round to
// i*ratioWidth; what lies outside ±ratioRange counts at its border.
type ratios map[int]int64

const (
	ratioWidth = 0.02
	ratioRange = 20.0
)

func (h *ratios) add(d float64) {
	if math.IsNaN(d) {
		return
	}
	if *h == nil {
		*h = ratios{}
	}
	(*h)[int(math.Round(min(max(d, -ratioRange), ratioRange)/ratioWidth))]++
}

func (h *ratios) merge(o ratios) {
	for bin, n := range o {
		if *h == nil {
			*h = ratios{}
		}
		(*h)[bin] += n
	}
}

// quantiles returns those of the ratio, to within 1 %; nil for an empty histogram.
func (h ratios) quantiles() map[string]float64 {
	if len(h) == 0 {
		return nil
	}
	bins, total := make([]int, 0, len(h)), int64(0)
	for bin, n := range h {
		bins = append(bins, bin)
		total += n
	}
	slices.Sort(bins)
	out := map[string]float64{}
	for name, q := range map[string]float64{"p01": .01, "p10": .1, "p50": .5, "p90": .9, "p99": .99} {
		seen := int64(0)
		for _, bin := range bins {
			if seen += h[bin]; float64(seen) >= q*float64(total) {
				out[name] = math.Exp(float64(bin) * ratioWidth)
				break
			}
		}
	}
	return out
}

func (d *divergence) merge(o *divergence) {
	d.WithLogprobs += o.WithLogprobs
	d.OldTokens += o.OldTokens
	d.OldSum += o.OldSum
	d.Histogram.merge(o.Histogram)
}
