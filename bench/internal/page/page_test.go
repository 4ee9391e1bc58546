package page

import (
	"bytes"
	"strings"
	"testing"

	"raftkv/bench/internal/compare"
)

func TestPageShowsFiguresAndNeedsNothing(t *testing.T) {
	report := compare.Report{
		A: compare.Side{Name: "raft<kv>"}, B: compare.Side{Name: "etcd"}, Rounds: 2,
		Summary: []compare.RowSummary{{
			Row: compare.Row{Name: "put"},
			Metrics: []compare.MetricSummary{{
				Metric: compare.P99, A: []float64{2000, 4000}, B: []float64{8000, 8000}, MedianA: 3000, MedianB: 8000,
				Ratio: 0.375, RatioMin: 0.25, RatioMax: 0.5,
				Goals: []compare.Judged{{Goal: compare.Goal{Metric: compare.P99, Ratio: 0.4, AtMost: true}, Verdict: compare.Mixed}},
			}, {Metric: compare.Compaction}},
			Faults: []compare.Fault{{Round: 1, Side: 1, Text: "it fell over"}},
		}},
	}
	var out bytes.Buffer
	if err := Write(&out, report); err != nil {
		t.Fatal(err)
	}
	text := out.String()
	for _, want := range []string{"raft&lt;kv&gt;", "3 ms", "8 ms", "0.38x", "0.25-0.50", "at most 0.40x: mixed", "round 2, etcd: it fell over"} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is missing", want)
		}
	}
	if n := strings.Count(text, "<rect"); n != 4 {
		t.Errorf("%d bars, want one a round and side", n)
	}
	// The longest bars reach the scale's end, half of the value half of it.
	if strings.Count(text, `width="480"`) != 2 || strings.Count(text, `width="240"`) != 1 {
		t.Error("bars do not have one scale")
	}
	for _, foreign := range []string{"http://", "https://", "<script", "<link"} {
		if strings.Contains(text, foreign) {
			t.Errorf("the page wants %s", foreign)
		}
	}
	if strings.Contains(text, string(compare.Compaction)) {
		t.Error("a metric without figures is shown")
	}
}
