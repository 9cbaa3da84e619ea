package sample

import (
	"cmp"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

// reference is the distribution by definition: everything sorted, float64.
func reference(logits []float32, d drawing) map[int32]float64 {
	type entry struct {
		id int32
		x  float64
	}
	var all []entry
	for i, x := range logits {
		all = append(all, entry{int32(i), float64(x)})
	}
	slices.SortFunc(all, func(a, b entry) int { return cmp.Or(cmp.Compare(b.x, a.x), cmp.Compare(a.id, b.id)) })
	if d.topK > 0 {
		all = all[:min(d.topK, len(all))]
	}
	top := all[0].x
	mass := func(e entry) float64 { return math.Exp((e.x - top) / d.temperature) }
	total := 0.0
	for _, e := range all {
		total += mass(e)
	}
	kept, n := 0.0, 0
	for n < len(all) && (n == 0 || d.topP >= 1 || kept < d.topP*total) {
		kept += mass(all[n])
		n++
	}
	all = all[:n]
	n = len(all)
	for d.minP > 0 && n > 1 && mass(all[n-1]) < d.minP {
		n--
	}
	all = all[:n]
	out := map[int32]float64{}
	sum := func() (s float64) {
		for _, e := range all {
			s += mass(e)
		}
		return s
	}
	if kept = sum(); d.typicalP > 0 && d.typicalP < 1 {
		surprise, entropy := func(e entry) float64 { return -math.Log(mass(e) / kept) }, 0.0
		for _, e := range all {
			entropy += mass(e) / kept * surprise(e)
		}
		slices.SortStableFunc(all, func(a, b entry) int {
			return cmp.Compare(math.Abs(surprise(a)-entropy), math.Abs(surprise(b)-entropy))
		})
		reached, last := 0.0, 0
		for last = 0; last < len(all)-1; last++ {
			if reached += mass(all[last]) / kept; reached >= d.typicalP {
				break
			}
		}
		for last+1 < len(all) && all[last+1].x == all[last].x { // equally near
			last++
		}
		all = all[:last+1]
		kept = sum()
	}
	for _, e := range all {
		out[e.id] = mass(e) / kept
	}
	return out
}

func randomLogits(rng *rand.Rand, n int) []float32 {
	x := make([]float32, n)
	for i := range x {
		x[i] = float32(rng.NormFloat64() * 3)
		if i%7 == 0 {
			x[i] = float32(math.Round(float64(x[i]))) // ties
		}
	}
	return x
}

// drawings are ways to draw, each cut alone and together.
var drawings = []drawing{
	{1, 1, 0, 0, 0}, {0.7, 1, 0, 0, 0}, {1, 0.9, 0, 0, 0}, {1.3, 0.5, 0, 0, 0}, {1, 1, 5, 0, 0}, {0.8, 0.9, 40, 0, 0}, {1, 1e-9, 0, 0, 0}, {2, 0.999, 1000, 0, 0}, {1, 0.3, 2, 0, 0},
	{1, 1, 0, 0.05, 0}, {0.6, 1, 0, 0.01, 1}, {1.5, 0.95, 0, 0.1, 0}, {1, 1, 30, 0.02, 0}, {1, 0.8, 50, 0.07, 0}, {1, 1, 0, 1, 0},
	{1, 1, 0, 0, 0.9}, {0.7, 1, 0, 0, 0.2}, {1.2, 0.95, 0, 0, 0.5}, {1, 1, 40, 0.01, 0.7}, {2, 1, 0, 0, 0.999}, {1, 1, 0, 0, 1e-6},
}

// Draws follow the distribution by definition: the support is exactly its
// support, the reported log-probs are its own, and the frequencies fit.
func TestDrawFollowsTheDistribution(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	var c chooser
	for _, d := range drawings {
		logits := randomLogits(rng, 300)
		want := reference(logits, d)
		const draws = 10000
		counts := map[int32]int{}
		for i := range draws {
			id, lp, ok := c.draw(logits, d, (float64(i)+0.5)/draws)
			if !ok {
				t.Fatal("not ok")
			}
			p, in := want[id]
			if !in || math.Abs(lp-math.Log(p)) > 1e-5 {
				t.Fatalf("%+v: drew %d with log-prob %g, want %g (%v)", d, id, lp, math.Log(p), in)
			}
			counts[id]++
		}
		for id, p := range want { // u runs evenly, so counts are exact up to the edges
			if math.Abs(float64(counts[id])-p*draws) > 3 {
				t.Errorf("%+v: token %d drawn %d times, want %.1f", d, id, counts[id], p*draws)
			}
		}
	}
}

func TestGreedy(t *testing.T) {
	logits := []float32{1, 5, 5, 2}
	var c chooser
	for _, d := range []drawing{{0, 1, 0, 0, 0}, {1, 0, 0, 0, 0}, {1, 1, 1, 0, 0}, {1e-9, 1, 0, 0.1, 0.5}} {
		if id, lp, ok := c.draw(logits, d, 0.99); id != 1 || lp != 0 || !ok {
			t.Errorf("%+v: %d %g %v, want the first of the largest", d, id, lp, ok)
		}
	}
}

func TestDrawRefusesWhatIsNotFinite(t *testing.T) {
	var c chooser
	nan, inf := float32(math.NaN()), float32(math.Inf(1))
	for _, logits := range [][]float32{{1, nan, 2}, {nan, nan}, {1, inf}, {-inf, -inf}} {
		for _, d := range []drawing{{0, 1, 0, 0, 0}, {1, 1, 0, 0, 0}, {1, 0.5, 3, 0, 0}, {1, 1, 0, 0.1, 0.5}} {
			if _, _, ok := c.draw(logits, d, 0.5); ok {
				t.Errorf("%v drawn", logits)
			}
		}
	}
	if id, _, ok := c.draw([]float32{-inf, 3, -inf}, drawing{1, 1, 0, 0, 0}, 0.999999); id != 1 || !ok {
		t.Errorf("excluded tokens: drew %d %v", id, ok)
	}
	if id, _, ok := c.draw([]float32{-inf, 3, -inf}, drawing{1, 0.5, 3, 0.1, 0.5}, 0.999999); id != 1 || !ok {
		t.Errorf("excluded tokens, cut: drew %d %v", id, ok)
	}
}

func TestUniform(t *testing.T) {
	seen, sum := map[float64]bool{}, 0.0
	for seed := range uint64(20) {
		for index := range 20 {
			for position := range 50 {
				u := uniform(seed, index, position)
				if u < 0 || u >= 1 || seen[u] {
					t.Fatalf("seed %d index %d position %d: %g, seen %v", seed, index, position, u, seen[u])
				}
				seen[u] = true
				sum += u
			}
		}
	}
	if mean := sum / float64(len(seen)); math.Abs(mean-0.5) > 0.01 {
		t.Errorf("mean %g", mean)
	}
	// The generator is documented, so its values are a promise.
	if got := uniform(42, 3, 7); got != 0.091650394144703662 {
		t.Errorf("uniform(42, 3, 7) = %.17g", got)
	}
}

func TestMostProbable(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 3))
	for range 50 {
		logits := randomLogits(rng, 100)
		order := make([]int32, 100)
		for i := range order {
			order[i] = int32(i)
		}
		slices.SortStableFunc(order, func(a, b int32) int { return cmp.Compare(logits[b], logits[a]) })
		for i, r := range mostProbable(logits, 20) {
			if r.id != order[i] {
				t.Fatalf("rank %d: token %d, want %d", i, r.id, order[i])
			}
		}
	}
	s := score([]float32{0, 1, 2}, 1, 10)
	if len(s.top) != 3 || s.top[0].id != 2 || math.Abs(s.logprob-(1-math.Log(1+math.E+math.E*math.E))) > 1e-6 {
		t.Errorf("%+v", s)
	}
}
