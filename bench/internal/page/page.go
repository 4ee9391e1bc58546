package page

import (
	_ "embed"
	"fmt"
	"html/template"
	"io"
	"slices"

	"raftkv/bench/internal/compare"
)

//go:embed page.html
var source string

// Geometry of a plot, in units of the picture.
const (
	barX, barWidthMax = 190, 480
	barStep, groupGap = 13, 8
	valueGap          = 6
	textBelow         = 9
)

// row is a row of the report, ready to be shown.
type row struct {
	Name   string
	Lines  []line
	Bars   []bar
	Height int
	Faults []string
}

type line struct {
	Metric, A, B, Ratio, Spread string
	Goals                       []goal
}

type goal struct{ Class, Text string }

// bar is one figure of one round.
type bar struct {
	Label, Value, Color     string
	Y, TextY, Width, ValueX int
}

// Write renders the report.
func Write(out io.Writer, report compare.Report) error {
	parsed, err := template.New("page").Parse(source)
	if err != nil {
		return fmt.Errorf("reading the page's template: %w", err)
	}
	data := struct {
		compare.Report
		Rows []row
	}{Report: report}
	for _, summary := range report.Summary {
		data.Rows = append(data.Rows, rowOf(report, summary))
	}
	if err := parsed.Execute(out, data); err != nil {
		return fmt.Errorf("writing the page: %w", err)
	}
	return nil
}

func rowOf(report compare.Report, summary compare.RowSummary) row {
	r := row{Name: summary.Row.Name}
	for _, m := range summary.Metrics {
		if len(m.A) == 0 && len(m.Goals) == 0 {
			continue
		}
		l := line{Metric: string(m.Metric), A: compare.Unknown, B: compare.Unknown}
		if len(m.A) > 0 {
			l.A, l.B = m.Metric.Format(m.MedianA), m.Metric.Format(m.MedianB)
		}
		if m.Ratio > 0 {
			l.Ratio, l.Spread = fmt.Sprintf("%.2fx", m.Ratio), fmt.Sprintf("%.2f-%.2f", m.RatioMin, m.RatioMax)
		}
		for _, g := range m.Goals {
			l.Goals = append(l.Goals, goal{classOf(g.Verdict), fmt.Sprintf("%s: %s", g.Goal, g.Verdict)})
		}
		r.Lines = append(r.Lines, l)
		if plotted(m) {
			r.plot(report, m)
		}
	}
	for _, f := range summary.Faults {
		name := [2]compare.Side{report.A, report.B}[f.Side].Name
		text := fmt.Sprintf("round %d, %s: %s", f.Round+1, name, f.Text)
		if f.Expected {
			text += " (expected)"
		}
		r.Faults = append(r.Faults, text)
	}
	return r
}

// plotted are the metrics that have a target, and the two that say most.
func plotted(m compare.MetricSummary) bool {
	return len(m.A) > 0 && (len(m.Goals) > 0 || m.Metric == compare.Throughput || m.Metric == compare.P99)
}

// plot adds a group of bars, both sides to one scale.
func (r *row) plot(report compare.Report, m compare.MetricSummary) {
	most := max(slices.Max(m.A), slices.Max(m.B))
	if most <= 0 {
		return
	}
	for side, values := range [][]float64{m.A, m.B} {
		name, color := report.A.Name, "#2463c4"
		if side == 1 {
			name, color = report.B.Name, "#9aa4b0"
		}
		for round, value := range values {
			width := max(1, int(value/most*barWidthMax))
			r.Bars = append(r.Bars, bar{
				Label: fmt.Sprintf("%s %s, round %d", m.Metric, name, round+1), Value: m.Metric.Format(value), Color: color,
				Y: r.Height, TextY: r.Height + textBelow, Width: width, ValueX: barX + width + valueGap,
			})
			r.Height += barStep
		}
	}
	r.Height += groupGap
}

func classOf(verdict string) string {
	switch verdict {
	case compare.Met:
		return "met"
	case compare.Missed, compare.Below:
		return "bad"
	}
	return "doubt"
}
