package compare

import (
	"fmt"
	"slices"

	"raftkv/bench/internal/drill"
	"raftkv/bench/internal/measure"
)

// Metric names a figure of a measurement.
type Metric string

// Metrics.
const (
	Throughput Metric = "operations/s"
	P50        Metric = "p50"
	P99        Metric = "p99"
	P999       Metric = "p99.9"
	MaxLatency Metric = "max"
	CPUPerOp   Metric = "CPU us/op"
	Resident   Metric = "resident MiB"
	DiskUsed   Metric = "disk MiB"
	Compaction Metric = "compaction s"
	// Outages: of all that were measured, over all rounds.
	OutageP50   Metric = "until write"
	OutageP90   Metric = "  p90"
	OutageWorst Metric = "  worst"
	// Puts beside an event.
	Maximum         Metric = "maximum/s"
	QuietP99        Metric = "p99 quiet"
	DuringOverQuiet Metric = "p99/quiet"
	EventTime       Metric = "event s"
	EventRuns       Metric = "event runs"
	// FailedPercent is the share of operations that failed where that is expected.
	FailedPercent Metric = "failed %"
)

// metrics are all of them, in the order of the report.
func metrics() []Metric {
	return []Metric{Throughput, P50, P99, P999, MaxLatency, CPUPerOp, Resident, DiskUsed, Compaction,
		OutageP50, OutageP90, OutageWorst, Maximum, QuietP99, DuringOverQuiet, EventTime, EventRuns, FailedPercent}
}

// always says whether a row of load has the metric, so that its absence is worth
// a line.
func (m Metric) always() bool {
	return slices.Contains([]Metric{Throughput, P50, P99, P999, CPUPerOp, Resident}, m)
}

// value extracts the metric; ok is false if the point does not have it.
// Times are in microseconds but for those that say s.
func (m Metric) value(p measure.Point) (value float64, ok bool) {
	switch m {
	case Throughput:
		return p.ThroughputPerSecond, p.WindowSeconds > 0 || p.ThroughputPerSecond > 0
	case P50:
		return float64(p.Latency.P50US), p.Latency.Count > 0
	case P99:
		return float64(p.Latency.P99US), p.Latency.Count > 0
	case P999:
		return float64(p.Latency.P999US), p.Latency.Count > 0
	case MaxLatency:
		return float64(p.Latency.MaxUS), p.Latency.Count > 0
	case Compaction:
		return p.CompactionSeconds, p.CompactionSeconds > 0
	case DiskUsed:
		return float64(p.DiskBytes) / (1 << 20), p.DiskBytes > 0
	case CPUPerOp:
		return costs(p).CPUPerOpUS, costs(p).CPUPerOpUS > 0
	case Resident:
		return float64(costs(p).ResidentBytes) / (1 << 20), p.Servers != nil
	case Maximum:
		return p.MaximumPerSecond, p.MaximumPerSecond > 0
	case EventTime:
		return p.EventSeconds, p.EventSeconds > 0
	case EventRuns:
		return float64(p.EventRuns), p.EventRuns > 0
	case FailedPercent:
		failed := float64(p.ErrorTotal())
		return 100 * failed / max(1, failed+float64(p.Completed)), p.FailuresExpected
	}
	return m.eventValue(p)
}

// eventValue is value for the metrics of events.
func (m Metric) eventValue(p measure.Point) (value float64, ok bool) {
	switch m {
	case QuietP99, DuringOverQuiet:
		quiet, ok := kindLatency(p, drill.KindQuiet)
		if m == QuietP99 || !ok {
			return float64(quiet.P99US), ok
		}
		during, ok := kindLatency(p, drill.KindDuring)
		return float64(during.P99US) / float64(quiet.P99US), ok
	}
	if p.Outage == nil {
		return 0, false
	}
	return m.outage(p.Outage.Seconds)
}

// outage is the quantile that the metric means.
func (m Metric) outage(seconds []float64) (us float64, ok bool) {
	quantile := map[Metric]float64{OutageP50: 0.5, OutageP90: 0.9, OutageWorst: 1}[m]
	return measure.Quantile(seconds, quantile) * 1e6, quantile > 0 && len(seconds) > 0
}

func costs(p measure.Point) measure.Cost {
	if p.Servers == nil {
		return measure.Cost{}
	}
	return *p.Servers
}

// Format writes a value for a person.
func (m Metric) Format(value float64) string {
	switch m {
	case P50, P99, P999, MaxLatency, OutageP50, OutageP90, OutageWorst, QuietP99:
		return measure.Micros(int64(value))
	case CPUPerOp, Compaction, EventTime, FailedPercent:
		return fmt.Sprintf("%.1f", value)
	case DuringOverQuiet:
		return fmt.Sprintf("%.2fx", value)
	}
	return fmt.Sprintf("%.0f", value)
}

// Goal is a target for the ratio of A to B.
type Goal struct {
	Metric Metric  `json:"metric"`
	Ratio  float64 `json:"ratio"`
	// AtMost makes Ratio an upper bound instead of a lower one.
	AtMost bool `json:"at_most"`
	// Absolute makes Ratio a bound of A's own median instead.
	Absolute bool `json:"absolute,omitempty"`
	// Floor is the ratio that nothing may be worse than; 0: 1, no worse than B.
	Floor float64 `json:"floor,omitempty"`
}

func (g Goal) String() string {
	bound := fmt.Sprintf("%.2fx", g.Ratio)
	if g.Absolute {
		bound = g.Metric.Format(g.Ratio)
		if g.Metric != DuringOverQuiet {
			bound += " itself"
		}
	}
	if g.AtMost {
		return "at most " + bound
	}
	return "at least " + bound
}

func (g Goal) metBy(ratio float64) bool { return g.holds(g.Ratio, ratio) }

// aboveFloor says whether the ratio is not worse than the floor.
func (g Goal) aboveFloor(ratio float64) bool {
	floor := g.Floor
	if floor == 0 {
		floor = 1
	}
	return g.holds(floor, ratio)
}

func (g Goal) holds(bound, value float64) bool {
	if g.AtMost {
		return value <= bound
	}
	return value >= bound
}
