package compare

import (
	"maps"
	"slices"

	"raftkv/bench/internal/measure"
)

// Verdicts on a goal.
const (
	Met     = "met"             // in every round; what is absolute, by the median
	Missed  = "MISSED"          // in every round
	Mixed   = "mixed"           // met in some rounds only
	Below   = "BELOW THE FLOOR" // missed in a round, and the ratio of the medians is below the floor too
	Invalid = "not counted"     // operations failed, or the load was not what it should be
	Unknown = "not measured"    // no figures
)

// RowSummary is what all rounds say about one row.
type RowSummary struct {
	Row     Row             `json:"row"`
	Metrics []MetricSummary `json:"metrics"`
	// Faults are failed operations, leader changes and the like.
	Faults []Fault `json:"faults,omitempty"`
	// OthersCores is the most that other processes and the machine's host used
	// during a measurement of A and of B.
	OthersCores [2]float64 `json:"others_cores"`
}

// MetricSummary compares one metric. Values are by round; a round counts if
// both sides have it.
type MetricSummary struct {
	Metric  Metric    `json:"metric"`
	A       []float64 `json:"a"`
	B       []float64 `json:"b"`
	MedianA float64   `json:"median_a"`
	MedianB float64   `json:"median_b"`
	// Ratio is MedianA/MedianB; RatioMin and RatioMax are the extremes of the
	// rounds' own ratios. All are 0 if there is nothing to divide by.
	Ratio    float64 `json:"ratio"`
	RatioMin float64 `json:"ratio_min"`
	RatioMax float64 `json:"ratio_max"`
	// Goals are the targets for the metric, each with its verdict.
	Goals []Judged `json:"goals,omitempty"`
}

// Judged is a goal with what became of it.
type Judged struct {
	Goal
	Verdict string `json:"verdict"`
}

// Fault is something that makes a measurement of one side doubtful.
type Fault struct {
	Round int    `json:"round"`
	Side  int    `json:"side"`
	Text  string `json:"text"`
	// Expected faults belong to what is measured and cast no doubt on it.
	Expected bool `json:"expected,omitempty"`
}

// Summarize compares the samples row by row.
func Summarize(rows []Row, samples []Sample) []RowSummary {
	var summaries []RowSummary
	for i, row := range rows {
		byRound := map[int][2]*measure.Point{}
		summary := RowSummary{Row: row}
		for _, s := range samples {
			if s.Row != i {
				continue
			}
			pair := byRound[s.Round]
			pair[s.Side] = &s.Point
			byRound[s.Round] = pair
			if o := s.Point.Others; o != nil {
				summary.OthersCores[s.Side] = max(summary.OthersCores[s.Side], o.Cores+o.StolenCores)
			}
			for _, fault := range faultsOf(s.Point) {
				fault.Round, fault.Side = s.Round, s.Side
				summary.Faults = append(summary.Faults, fault)
			}
		}
		faulty := slices.ContainsFunc(summary.Faults, func(f Fault) bool { return !f.Expected })
		for _, metric := range metrics() {
			summary.Metrics = append(summary.Metrics, summarizeMetric(metric, row, byRound, faulty))
		}
		summaries = append(summaries, summary)
	}
	return summaries
}

func summarizeMetric(metric Metric, row Row, byRound map[int][2]*measure.Point, faulty bool) MetricSummary {
	m := MetricSummary{Metric: metric}
	var ratios []float64
	for _, round := range slices.Sorted(maps.Keys(byRound)) {
		pair := byRound[round]
		if pair[0] == nil || pair[1] == nil {
			continue
		}
		a, okA := metric.value(*pair[0])
		b, okB := metric.value(*pair[1])
		if !okA || !okB {
			continue
		}
		m.A, m.B = append(m.A, a), append(m.B, b)
		if b > 0 {
			ratios = append(ratios, a/b)
		}
	}
	m.MedianA, m.MedianB = median(m.A), median(m.B)
	m.pool(byRound)
	// A ratio over some of the rounds would not bracket that of the medians.
	if len(ratios) > 0 && len(ratios) == len(m.B) {
		m.Ratio = m.MedianA / m.MedianB
		m.RatioMin, m.RatioMax = slices.Min(ratios), slices.Max(ratios)
	} else {
		ratios = nil
	}
	for _, goal := range row.Goals {
		if goal.Metric == metric {
			m.Goals = append(m.Goals, Judged{goal, verdict(goal, m, ratios, faulty)})
		}
	}
	return m
}

// pool takes outages of all rounds together: the worst one of a round is not that
// of the run.
func (m *MetricSummary) pool(byRound map[int][2]*measure.Point) {
	var seconds [2][]float64
	for _, pair := range byRound {
		if pair[0] == nil || pair[1] == nil || pair[0].Outage == nil || pair[1].Outage == nil {
			continue
		}
		for side, p := range pair {
			seconds[side] = append(seconds[side], p.Outage.Seconds...)
		}
	}
	a, okA := m.Metric.outage(seconds[0])
	b, okB := m.Metric.outage(seconds[1])
	if okA && okB {
		m.MedianA, m.MedianB = a, b
	}
}

func verdict(goal Goal, m MetricSummary, ratios []float64, faulty bool) string {
	switch {
	case len(m.A) == 0, len(ratios) == 0 && !goal.Absolute:
		return Unknown
	case faulty:
		return Invalid
	case goal.Absolute && goal.metBy(m.MedianA):
		return Met
	case goal.Absolute:
		return Missed
	}
	met := 0
	for _, ratio := range ratios {
		if goal.metBy(ratio) {
			met++
		}
	}
	switch {
	case met == len(ratios):
		return Met
	case !goal.aboveFloor(m.Ratio):
		return Below
	case met == 0:
		return Missed
	}
	return Mixed
}

// median of an even number of values is the mean of the middle two.
func median(values []float64) float64 {
	if len(values) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(values))
	middle := len(sorted) / 2
	if len(sorted)%2 == 1 {
		return sorted[middle]
	}
	return (sorted[middle-1] + sorted[middle]) / 2
}
