package compare

import (
	"fmt"

	"raftkv/bench/internal/drill"
	"raftkv/bench/internal/measure"
)

const (
	fiveNodes = 5
	// What five nodes must do by themselves, whatever the reference does.
	fivePutsMin      = 10_000
	fivePutsP99MaxUS = 50_000
)

// fiveRows are puts on five nodes: left alone, and while the leader is killed again
// and again. What they do then has no target but to be faster than the reference.
// Latencies have none either: they are those of puts that succeeded, and a server
// that fails most of them is quick at the others.
func fiveRows() []Row {
	quiet := put(100, 10, measure.TargetAll, []Goal{
		{Metric: Throughput, Ratio: fivePutsMin, Absolute: true},
		{Metric: P99, Ratio: fivePutsP99MaxUS, AtMost: true, Absolute: true},
		{Metric: Throughput, Ratio: 1.5, Floor: 1.5},
	})
	quiet.Name += ", five nodes"
	quiet.Nodes = fiveNodes
	churn := quiet
	churn.Name = fmt.Sprintf("churn: %s, the leader killed every %v", quiet.Name, drill.ChurnEvery)
	churn.Event = EventChurn
	churn.Goals = []Goal{{Metric: Throughput, Ratio: 1}}
	return []Row{quiet, churn}
}
