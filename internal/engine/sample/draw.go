package sample

import (
	"cmp"
	"math"
	"slices"

	"github.com/firekeep/firekeep/internal/engine/kernel"
)

// minTemperature is where sampling becomes greedy: below it the quotients
// leave float32.
const minTemperature = 1e-5

// uniform is the random number in [0, 1) that draws the token at position (from
// 0) of completion index: a counter-based generator, so that an answer depends on
// its seed and place only. SplitMix64's finaliser is applied to the counter
// seed + (index+1)*0x9e3779b97f4a7c15, then to that plus
// (position+1)*0x6a09e667f3bcc909; the top 53 bits of the result are the number.
func uniform(seed uint64, index, position int) float64 {
	z := mix(seed + uint64(index+1)*0x9e3779b97f4a7c15)
	z = mix(z + uint64(position+1)*0x6a09e667f3bcc909)
	return float64(z>>11) / (1 << 53)
}

func mix(z uint64) uint64 {
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}

// drawing is how the token is drawn.
type drawing struct {
	temperature, topP float64
	topK              int
	minP, typicalP    float64 // 0 = off, and typicalP from 1 on
}

// typical says whether the distribution is cut to its typical tokens.
func (d drawing) typical() bool { return d.typicalP > 0 && d.typicalP < 1 }

// chooser draws tokens from logits. It is one worker's memory.
type chooser struct {
	exps       []float32
	adjusted   []float32
	candidates []candidate
	bins       [binCount]bin
}

type candidate struct {
	id    int32
	logit float32
	mass  float32 // exp((logit - top) / temperature)
}

// bin counts the tokens whose mass has the same leading bits.
type bin struct {
	count int
	mass  float64
}

const (
	binShift = 19 // leaves the exponent and four bits of the mantissa
	binCount = 0x3f800000>>binShift + 1
)

// draw returns a token and its log-prob in the distribution it was drawn from,
// which is the softmax at the temperature, cut to the topK most probable, then to
// the fewest of these whose probability reaches topP, then to those with at least
// minP of the most probable one's, then to the typical ones; u picks. Equal logits
// rank by id. ok is false when the logits are not finite.
func (c *chooser) draw(logits []float32, d drawing, u float64) (id int32, logprob float64, ok bool) {
	top := kernel.Max(logits)
	if t := float64(top); math.IsNaN(t) || math.IsInf(t, 0) {
		return 0, 0, false
	}
	if d.temperature < minTemperature || d.topK == 1 || d.topP <= 0 {
		return int32(slices.Index(logits, top)), 0, true
	}
	grow(&c.exps, len(logits))
	exps := logits
	if d.temperature != 1 {
		copy(c.exps, logits)
		kernel.Scale(c.exps, float32(1/d.temperature))
		exps, top = c.exps, kernel.Max(c.exps)
	}
	total := kernel.ExpSub(c.exps, exps, top)
	if d.topK <= 0 && d.topP >= 1 && d.minP <= 0 && !d.typical() {
		return pickAll(c.exps, total, u)
	}
	return c.pickBest(logits, d, total, u)
}

// pickAll draws from all tokens in the order of their ids.
func pickAll(mass []float32, total, u float64) (id int32, logprob float64, ok bool) {
	target, sum, last := u*total, 0.0, -1
	for i, x := range mass {
		if x == 0 {
			continue
		}
		sum += float64(x)
		last = i
		if sum > target {
			break
		}
	}
	return int32(last), math.Log(float64(mass[last]) / total), true
}

// pickBest draws from the most probable tokens. Only these are sorted: bins of
// nearly equal mass tell where the cut must lie.
func (c *chooser) pickBest(logits []float32, d drawing, total, u float64) (id int32, logprob float64, ok bool) {
	clear(c.bins[:])
	for _, x := range c.exps {
		b := &c.bins[math.Float32bits(x)>>binShift]
		b.count++
		b.mass += float64(x)
	}
	lowest, count, mass, floor := binCount, 0, 0.0, 0
	if d.topK <= 0 || d.topP >= 1 { // what minP drops is not needed to find the other cuts
		floor = int(math.Float32bits(float32(d.minP)) >> binShift)
	}
	for lowest > floor && (d.topK > 0 && count < d.topK || d.topK <= 0 && (d.topP >= 1 || mass < d.topP*total)) {
		lowest--
		count += c.bins[lowest].count
		mass += c.bins[lowest].mass
	}
	c.candidates = c.candidates[:0]
	for i, x := range c.exps {
		if int(math.Float32bits(x)>>binShift) >= lowest {
			c.candidates = append(c.candidates, candidate{int32(i), logits[i], x})
		}
	}
	slices.SortFunc(c.candidates, func(a, b candidate) int {
		return cmp.Or(cmp.Compare(b.logit, a.logit), cmp.Compare(a.id, b.id))
	})
	best := c.candidates
	if d.topK > 0 {
		best = best[:min(d.topK, len(best))]
		total = 0
		for _, x := range best {
			total += float64(x.mass)
		}
	}
	kept, n := 0.0, 0
	for n < len(best) && (n == 0 || d.topP >= 1 || kept < d.topP*total) {
		kept += float64(best[n].mass)
		n++
	}
	best, kept = atLeast(best[:n], float32(d.minP), kept)
	if d.typical() {
		best, kept = typical(best, d.typicalP, kept)
	}
	target, sum, last := u*kept, 0.0, best[0]
	for _, x := range best {
		sum += float64(x.mass)
		last = x
		if sum > target {
			break
		}
	}
	return last.id, math.Log(float64(last.mass) / kept), true
}

// atLeast keeps the candidates of at least minP of the first one's mass, which is
// 1, and of any at all. kept is the mass of best, and of the result.
func atLeast(best []candidate, minP float32, kept float64) ([]candidate, float64) {
	n := len(best)
	for n > 1 && (best[n-1].mass < minP || best[n-1].mass == 0) {
		n--
		kept -= float64(best[n].mass)
	}
	if n < len(best) { // the sum anew: what was taken away leaves rounding behind
		kept = 0
		for _, x := range best[:n] {
			kept += float64(x.mass)
		}
	}
	return best[:n], kept
}

// typical keeps the fewest candidates whose probability reaches p, counted from
// those whose surprise is nearest to the distribution's entropy (Meister et al.,
// "Locally Typical Sampling"), and all that are as near as the last of them.
func typical(best []candidate, p, kept float64) ([]candidate, float64) {
	entropy := 0.0
	for _, x := range best {
		q := float64(x.mass) / kept
		entropy -= q * math.Log(q)
	}
	far := func(x candidate) float64 { return math.Abs(-math.Log(float64(x.mass)/kept) - entropy) }
	slices.SortStableFunc(best, func(a, b candidate) int { return cmp.Compare(far(a), far(b)) })
	n, sum := 0, 0.0
	for n < len(best) && sum < p*kept {
		sum += float64(best[n].mass)
		n++
	}
	for n = max(n, 1); n < len(best) && far(best[n]) == far(best[n-1]); n++ {
		sum += float64(best[n].mass)
	}
	return best[:n], max(sum, float64(best[0].mass))
}

// scored is a token with the log-probs of the raw softmax at its position.
type scored struct {
	logprob float64
	top     []ranked
}

type ranked struct {
	id      int32
	logprob float64
}

// score returns the log-prob of id and of the n most probable tokens.
func score(logits []float32, id int32, n int) scored {
	lse := kernel.LogSumExp(logits)
	s := scored{logprob: float64(logits[id]) - lse}
	if n = min(n, len(logits)); n > 0 {
		s.top = mostProbable(logits, n)
		for i := range s.top {
			s.top[i].logprob -= lse
		}
	}
	return s
}

// mostProbable returns the n largest logits, largest first, equal ones by id.
func mostProbable(logits []float32, n int) []ranked {
	best := make([]ranked, 0, n)
	for i, x := range logits {
		v := float64(x)
		if len(best) == n {
			if v <= best[n-1].logprob {
				continue
			}
			best = best[:n-1]
		}
		at := len(best)
		for at > 0 && best[at-1].logprob < v {
			at--
		}
		best = slices.Insert(best, at, ranked{int32(i), v})
	}
	return best
}
