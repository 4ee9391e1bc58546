package compare

import (
	"fmt"

	"raftkv/bench/internal/kvload"
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
	CPUPerOp   Metric = "CPU us/op"
	Resident   Metric = "resident MiB"
)

// metrics are all of them, in the order of the report.
func metrics() []Metric {
	return []Metric{Throughput, P50, P99, P999, CPUPerOp, Resident}
}

// value extracts the metric; ok is false if the point does not have it.
func (m Metric) value(p measure.Point) (value float64, ok bool) {
	switch m {
	case Throughput:
		return p.ThroughputPerSecond, true
	case P50:
		return float64(p.Latency.P50US), p.Latency.Count > 0
	case P99:
		return float64(p.Latency.P99US), p.Latency.Count > 0
	case P999:
		return float64(p.Latency.P999US), p.Latency.Count > 0
	}
	if p.Servers == nil {
		return 0, false
	}
	if m == CPUPerOp {
		return p.Servers.CPUPerOpUS, p.Servers.CPUPerOpUS > 0
	}
	return float64(p.Servers.ResidentBytes) / (1 << 20), true
}

// Goal is a target for the ratio of A to B.
type Goal struct {
	Metric Metric  `json:"metric"`
	Ratio  float64 `json:"ratio"`
	// AtMost makes Ratio an upper bound instead of a lower one.
	AtMost bool `json:"at_most"`
}

func (g Goal) String() string {
	if g.AtMost {
		return fmt.Sprintf("at most %.2fx", g.Ratio)
	}
	return fmt.Sprintf("at least %.2fx", g.Ratio)
}

func (g Goal) metBy(ratio float64) bool {
	if g.AtMost {
		return ratio <= g.Ratio
	}
	return ratio >= g.Ratio
}

// Row is one workload of the matrix.
type Row struct {
	Name        string         `json:"name"`
	Clients     int            `json:"clients"`
	Connections int            `json:"connections"`
	Target      measure.Target `json:"target"`
	ReadPercent int            `json:"read_percent"`
	AbsentKeys  bool           `json:"absent_keys,omitempty"`
	Goals       []Goal         `json:"goals,omitempty"`
}

// Workload completes the row with what all rows have in common.
func (r Row) Workload(keys, valueSizeBytes int, seed uint64) kvload.Spec {
	return kvload.Spec{
		ReadPercent:    r.ReadPercent,
		AbsentKeys:     r.AbsentKeys,
		Keys:           keys,
		ValueSizeBytes: valueSizeBytes,
		Seed:           seed,
	}
}

// Matrix returns all rows with their targets. Rows without an explicit target
// have the floor that holds for everything: no slower than the reference.
func Matrix() []Row {
	atLeast := func(m Metric, ratio float64) Goal { return Goal{Metric: m, Ratio: ratio} }
	atMost := func(m Metric, ratio float64) Goal { return Goal{Metric: m, Ratio: ratio, AtMost: true} }
	single := []Goal{atLeast(Throughput, 1.5), atMost(P50, 0.6)}
	many := []Goal{atLeast(Throughput, 2.5), atMost(P99, 0.4)}
	manyCPU := []Goal{atLeast(Throughput, 2.5), atMost(P99, 0.4), atMost(CPUPerOp, 0.35)}
	floor := []Goal{atLeast(Throughput, 1)}

	return []Row{
		put(1, 1, measure.TargetLeader, single),
		put(100, 10, measure.TargetLeader, many),
		put(1000, 100, measure.TargetLeader, manyCPU),
		// Three connections, so that the lone client visits every member.
		put(1, 3, measure.TargetAll, floor),
		put(100, 10, measure.TargetAll, many),
		put(1000, 100, measure.TargetAll, many),
		get(100, 10, true, []Goal{atLeast(Throughput, 2)}),
		get(1000, 100, true, []Goal{atLeast(Throughput, 2), atMost(CPUPerOp, 0.55)}),
		get(100, 10, false, floor),
		get(1000, 100, false, floor),
	}
}

func put(clients, connections int, target measure.Target, goals []Goal) Row {
	return Row{
		Name:    fmt.Sprintf("put, %s, %s", countClients(clients), describeTarget(target)),
		Clients: clients, Connections: connections, Target: target, Goals: goals,
	}
}

// get rows ask for absent keys where the target is defined that way: the
// ceiling it was derived from is a server that answers every get with nothing.
func get(clients, connections int, absent bool, goals []Goal) Row {
	what := "with its value"
	if absent {
		what = "absent key"
	}
	return Row{
		Name:    fmt.Sprintf("linearizable get, %s, %s, %s", countClients(clients), describeTarget(measure.TargetAll), what),
		Clients: clients, Connections: connections, Target: measure.TargetAll,
		ReadPercent: 100, AbsentKeys: absent, Goals: goals,
	}
}

func countClients(n int) string {
	if n == 1 {
		return "1 client"
	}
	return fmt.Sprintf("%d clients", n)
}

func describeTarget(target measure.Target) string {
	if target == measure.TargetLeader {
		return "to the leader"
	}
	return "to all members"
}
