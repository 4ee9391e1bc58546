package page

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"time"

	"raftkv/bench/internal/compare"
	"raftkv/bench/internal/machine"
)

// reportOf is one of a single row whose throughput has a target.
func reportOf(name string, day int, a float64) compare.Report {
	return compare.Report{
		A: compare.Side{Name: "raft-kv"}, B: compare.Side{Name: "etcd", Binary: machine.Binary{Server: "v3.7.3"}},
		Began:  time.Date(2026, 11, day, 0, 0, 0, 0, time.UTC),
		Rounds: 3, Machine: machine.Facts{Cores: 2, Commit: "0123456789ab"},
		Summary: []compare.RowSummary{{
			Row: compare.Row{Name: name},
			Metrics: []compare.MetricSummary{
				{
					Metric: compare.Throughput, A: []float64{a}, B: []float64{100}, MedianA: a, MedianB: 100, Ratio: a / 100, RatioMin: a / 100, RatioMax: a / 100,
					Goals: []compare.Judged{{Goal: compare.Goal{Metric: compare.Throughput, Ratio: 2}, Verdict: compare.Met}},
				},
				{Metric: compare.P99, A: []float64{1000}, B: []float64{1000}},
				{Metric: compare.Resident, Goals: []compare.Judged{{Goal: compare.Goal{Metric: compare.Resident, Ratio: 0.5, AtMost: true}, Verdict: compare.Unknown}}},
				{Metric: compare.FailedPercent, A: []float64{1.5}, B: []float64{20}, MedianA: 1.5, MedianB: 20},
			},
			OthersCores: [2]float64{0, 0.5},
		}},
	}
}

func TestTableJoinsReports(t *testing.T) {
	matrix := compare.Matrix()
	second, first := matrix[1].Name, matrix[0].Name
	var out bytes.Buffer
	// The rows come in the matrix's order, that of the later report counts, and one
	// that is no longer in the matrix comes last.
	err := WriteMarkdown(&out, []compare.Report{reportOf(second, 3, 500), reportOf("a|b", 2, 300), reportOf(second, 1, 400), reportOf(first, 2, 300)})
	if err != nil {
		t.Fatal(err)
	}
	rest := " ~ | 300/s<br>not measured<br>1.5 % failed | 100/s<br>not measured<br>20.0 % failed | 3.00x (3.00-3.00)<br><br> |" +
		" at least 2.00x<br>at most 0.50x<br> | met<br>not measured<br> |"
	want := "| work | raft-kv | etcd | ratio (rounds) | target | verdict |\n|---|---|---|---|---|---|\n" +
		"| " + first + rest + "\n| " + second + strings.NewReplacer("300/s", "500/s", "3.00", "5.00").Replace(rest) + "\n| a\\|b" + rest + "\n"
	text := out.String()
	if !strings.HasPrefix(text, want) {
		t.Errorf("got\n%s\nwant\n%s", text, want)
	}
	if strings.Count(text, "2 cores") != 1 || strings.Count(text, "\n- 2026-11-0") != 4 || !strings.Contains(text, "commit 0123456789ab, one fsync 0 us: 3 rounds") {
		t.Errorf("where it comes from is not said well:\n%s", text)
	}
}

func TestReportsOfOtherSidesAreNotJoined(t *testing.T) {
	other := reportOf("put", 1, 1)
	other.B.Name = "redis"
	if err := WriteMarkdown(&bytes.Buffer{}, []compare.Report{reportOf("put", 1, 1), other}); !errors.Is(err, ErrSides) {
		t.Errorf("got %v", err)
	}
}
