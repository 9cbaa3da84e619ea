package cli

import (
	"fmt"
	"io"
	"math"
	"strings"
	"unicode/utf8"

	"github.com/firekeep/firekeep/api"
)

// plotFlags choose a chart instead of a table.
type plotFlags struct {
	Plot  bool `help:"Draw charts of how the numbers went instead of listing them."`
	ASCII bool `name:"ascii" help:"With --plot: only ASCII; the default where the locale is not UTF-8."`
}

// series is one line of metrics over the updates.
type series struct {
	name string
	of   func(*api.StepMetrics) float64
}

var (
	lossSeries   = series{"loss", func(m *api.StepMetrics) float64 { return m.Loss }}
	rewardSeries = series{"reward", func(m *api.StepMetrics) float64 { return m.RewardMean }}
	klSeries     = series{"KL", func(m *api.StepMetrics) float64 { return m.KL }}
)

// chartRows is the height of a chart in lines, without its frame.
const chartRows = 8

// draw draws one chart per series. With --json there is nothing to draw.
func (p plotFlags) draw(a *app, metrics []api.StepMetrics, what ...series) error {
	if a.json {
		return a.printJSON(metrics)
	}
	if len(metrics) == 0 {
		_, err := fmt.Fprintln(a.Stderr, "no metrics yet")
		return err
	}
	style := chartStyle{ascii: p.ASCII || !utf8Locale(a.Env), width: a.columns()}
	style.colour = a.OutTerminal && a.Env("NO_COLOR") == "" && a.Env("TERM") != "dumb"
	var b strings.Builder
	for i, s := range what {
		if i > 0 {
			b.WriteByte('\n')
		}
		values := make([]float64, len(metrics))
		for i := range metrics {
			values[i] = s.of(&metrics[i])
		}
		style.chart(&b, s.name, metrics[0].Update, metrics[len(metrics)-1].Update, values)
	}
	_, err := io.WriteString(a.rawOut, b.String()) // numbers and our own words only
	return err
}

// utf8Locale reports whether the terminal shows more than ASCII, by the variables
// that say so, the strongest first.
func utf8Locale(env func(string) string) bool {
	for _, name := range []string{"LC_ALL", "LC_CTYPE", "LANG"} {
		if v := strings.ToLower(env(name)); v != "" {
			return strings.Contains(v, "utf-8") || strings.Contains(v, "utf8")
		}
	}
	return false
}

type chartStyle struct {
	ascii, colour bool
	width         int // of the whole chart in columns
}

// chart writes one chart: a heading, chartRows rows with the range beside them, and
// the updates below.
func (s chartStyle) chart(b *strings.Builder, name string, first, last int64, values []float64) {
	low, high := bounds(values)
	if math.IsInf(low, 0) {
		fmt.Fprintf(b, "%s: no number to draw\n", name)
		return
	}
	head := fmt.Sprintf("%s: %s first, %s last, %s to %s", name, short(values[0]), short(values[len(values)-1]), short(low), short(high))
	fmt.Fprintln(b, cut(head, s.width))
	bars := levels(resample(values, s.width-labelWidth-2), low, high)
	side, corner, floor := "│", "└", "─"
	if s.ascii {
		side, corner, floor = "|", "+", "-"
	}
	for row := chartRows - 1; row >= 0; row-- {
		label := ""
		switch row {
		case chartRows - 1:
			label = short(high)
		case 0:
			label = short(low)
		}
		fmt.Fprintf(b, "%*s %s%s\n", labelWidth, label, side, s.paint(s.row(bars, row)))
	}
	fmt.Fprintf(b, "%*s %s%s\n", labelWidth, "", corner, strings.Repeat(floor, len(bars)))
	from, to := fmt.Sprint(first), fmt.Sprint(last)
	if gap := len(bars) - len(from) - len(to); gap > 0 {
		from += strings.Repeat(" ", gap) + to
	}
	fmt.Fprintf(b, "%*s  %s\n", labelWidth, "", from)
}

// labelWidth holds a number as short writes it.
const labelWidth = 10

func short(v float64) string { return fmt.Sprintf("%.3g", v) }

// bounds are the smallest and the greatest number of values; infinite where there
// is none.
func bounds(values []float64) (low, high float64) {
	low, high = math.Inf(1), math.Inf(-1)
	for _, v := range values {
		if !math.IsNaN(v) && !math.IsInf(v, 0) {
			low, high = min(low, v), max(high, v)
		}
	}
	return low, high
}

// widestBar is how many columns one update has at most.
const widestBar = 4

// resample makes columns of values: the mean of some where there are more than
// columns, several columns of one where there are fewer. NaN = nothing to draw.
func resample(values []float64, columns int) []float64 {
	n := len(values)
	columns = max(1, min(columns, n*widestBar))
	if n < columns {
		columns -= columns % n // bars of one width
	}
	out := make([]float64, columns)
	for c := range out {
		from := c * n / columns
		to := max((c+1)*n/columns, from+1)
		mean, count := 0., 0.
		for _, v := range values[from:to] {
			if !math.IsNaN(v) && !math.IsInf(v, 0) {
				count++
				mean += v/count - mean/count // no sum that could overflow
			}
		}
		if out[c] = mean; count == 0 {
			out[c] = math.NaN()
		}
	}
	return out
}

// eighths is the resolution of a line of text.
const eighths = 8

// levels are the heights of columns in eighths of a line, 0 = nothing. The
// smallest number has a height too: it was measured.
func levels(values []float64, low, high float64) []int {
	out := make([]int, len(values))
	for i, v := range values {
		switch {
		case math.IsNaN(v):
		case high == low:
			out[i] = chartRows * eighths / 2
		default:
			// Halved, because the difference of two finite numbers may not be finite.
			share := (v/2 - low/2) / (high/2 - low/2)
			out[i] = 1 + int(math.Round(min(max(share, 0), 1)*(chartRows*eighths-1)))
		}
	}
	return out
}

var blocks = []rune(" ▁▂▃▄▅▆▇█")

// row draws one line of bars; row 0 is the lowest.
func (s chartStyle) row(bars []int, row int) string {
	var b strings.Builder
	for _, level := range bars {
		part := min(max(level-row*eighths, 0), eighths)
		switch {
		case !s.ascii:
			b.WriteRune(blocks[part])
		case part == eighths:
			b.WriteByte('#')
		case part >= eighths/2:
			b.WriteByte(':')
		case part > 0:
			b.WriteByte('.')
		default:
			b.WriteByte(' ')
		}
	}
	return strings.TrimRight(b.String(), " ")
}

// paint colours a row of a terminal.
func (s chartStyle) paint(row string) string {
	if !s.colour || utf8.RuneCountInString(row) == 0 {
		return row
	}
	return "\x1b[36m" + row + "\x1b[0m"
}
