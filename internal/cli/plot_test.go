package cli

import (
	"bytes"
	"math"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/firekeep/firekeep/api"
)

func drawn(t *testing.T, terminal bool, env map[string]string, p plotFlags, n int) string {
	t.Helper()
	metrics := make([]api.StepMetrics, n)
	for i := range metrics {
		metrics[i] = api.StepMetrics{Update: int64(i + 1), RewardMean: float64(i) / float64(max(n-1, 1)), Loss: -0.5, KL: math.Sin(float64(i) / 3)}
	}
	var out bytes.Buffer
	a := &app{Invocation: Invocation{Env: func(k string) string { return env[k] }, OutTerminal: terminal, Stderr: &out}, rawOut: &out}
	if err := p.draw(a, metrics, rewardSeries, lossSeries, klSeries); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

// TestChart: a rising reward is a staircase from the lowest level to the highest.
func TestChart(t *testing.T) {
	var b strings.Builder
	chartStyle{width: 80}.chart(&b, "reward", 1, 8, []float64{0, 1, 2, 3, 4, 5, 6, 7})
	want := `reward: 0 first, 7 last, 0 to 7
         7 │                            ████
           │                        ▇▇▇▇████
           │                    ▆▆▆▆████████
           │                ▅▅▅▅████████████
           │            ▄▄▄▄████████████████
           │        ▃▃▃▃████████████████████
           │    ▂▂▂▂████████████████████████
         0 │▁▁▁▁████████████████████████████
           └────────────────────────────────
            1                              8
`
	if got := b.String(); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

// TestChartsFit: every line fits 80 columns, however many updates there are; an
// odd locale gets ASCII, a pipe gets no colour.
func TestChartsFit(t *testing.T) {
	utf := map[string]string{"LANG": "de_DE.UTF-8"}
	for _, n := range []int{1, 2, 3, 17, 69, 70, 71, 500, 10000} {
		for name, text := range map[string]string{
			"utf-8":        drawn(t, false, utf, plotFlags{}, n),
			"ascii":        drawn(t, false, map[string]string{"LANG": "C"}, plotFlags{}, n),
			"ascii by LC":  drawn(t, false, map[string]string{"LANG": "de_DE.UTF-8", "LC_ALL": "C"}, plotFlags{}, n),
			"ascii wanted": drawn(t, false, utf, plotFlags{ASCII: true}, n),
		} {
			for _, line := range strings.Split(text, "\n") {
				if utf8.RuneCountInString(line) > 80 {
					t.Errorf("%d updates, %s: %q is wider than 80 columns", n, name, line)
				}
			}
			if strings.ContainsRune(text, 0x1b) {
				t.Errorf("%d updates, %s: colour in a pipe", n, name)
			}
			if ascii := !strings.ContainsFunc(text, func(r rune) bool { return r > 127 }); ascii != (name != "utf-8") {
				t.Errorf("%d updates, %s: ASCII is %v", n, name, ascii)
			}
			if strings.Count(text, "first") != 3 {
				t.Errorf("%d updates, %s: not three charts", n, name)
			}
		}
	}
	if !strings.Contains(drawn(t, true, utf, plotFlags{}, 5), "\x1b[36m") {
		t.Error("no colour on a terminal")
	}
	if strings.ContainsRune(drawn(t, true, map[string]string{"LANG": "C.UTF-8", "NO_COLOR": "1"}, plotFlags{}, 5), 0x1b) {
		t.Error("colour in spite of NO_COLOR")
	}
}

// FuzzChart: any numbers, also those that are none, make a chart of its size.
func FuzzChart(f *testing.F) {
	f.Add(0.0, 1.0, math.NaN(), 40)
	f.Add(math.MaxFloat64, -math.MaxFloat64, 0.0, 80)
	f.Add(math.Inf(1), math.Inf(-1), math.NaN(), 20)
	f.Fuzz(func(t *testing.T, x, y, z float64, width int) {
		width = 20 + (width&0xff+256)%256
		values := []float64{x, y, z, x, x, y}
		for _, ascii := range []bool{false, true} {
			var b strings.Builder
			chartStyle{width: width, ascii: ascii}.chart(&b, "loss", 1, 6, values)
			for _, line := range strings.Split(b.String(), "\n") {
				if utf8.RuneCountInString(line) > max(width, len("loss: no number to draw")) {
					t.Fatalf("%q is wider than %d", line, width)
				}
			}
		}
	})
}
