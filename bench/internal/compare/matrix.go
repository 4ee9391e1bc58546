package compare

import (
	"fmt"
	"strings"

	"raftkv/bench/internal/kvload"
	"raftkv/bench/internal/measure"
)

// Row is one workload of the matrix.
type Row struct {
	Name        string         `json:"name"`
	Clients     int            `json:"clients"`
	Connections int            `json:"connections"`
	Target      measure.Target `json:"target"`
	// Nodes, if not 0, is the number of nodes instead of that of the whole matrix.
	Nodes       int  `json:"nodes,omitempty"`
	ReadPercent int  `json:"read_percent"`
	AbsentKeys  bool `json:"absent_keys,omitempty"`
	// Serializable gets need no answer from other members.
	Serializable bool `json:"serializable,omitempty"`
	// Keys, if not 0, is the number of keys instead of that of the whole matrix.
	Keys     int `json:"keys,omitempty"`
	PageKeys int `json:"page_keys,omitempty"`
	// Operation and Distribution are those of the workload.
	Operation    kvload.Operation    `json:"operation,omitempty"`
	Distribution kvload.Distribution `json:"distribution,omitempty"`
	Versions     int                 `json:"versions,omitempty"`
	Rate         float64             `json:"rate,omitempty"`
	Compact      bool                `json:"compact,omitempty"`
	// NativeConnections, if not 0, makes the load of side A come through the native
	// API, over so many connections; side B gets the row as it is.
	NativeConnections int `json:"native_connections,omitempty"`
	// API is how the load of both sides comes; empty: by gRPC's own client.
	API kvload.API `json:"api,omitempty"`
	// Event is what happens to the cluster; empty: nothing, the row is a load.
	Event string `json:"event,omitempty"`
	// Loaded rows write about a million times before they measure anything, and have
	// no more rounds than Config.LoadedRounds. Loaded events take as many keys as
	// Config.LoadedKeys says, others as EventKeys says.
	Loaded bool   `json:"loaded,omitempty"`
	Goals  []Goal `json:"goals,omitempty"`
}

// Workload completes the row with what all rows have in common.
func (r Row) Workload(keys, valueSizeBytes int, seed uint64) kvload.Spec {
	if r.Keys > 0 {
		keys = r.Keys
	}
	return kvload.Spec{
		API:            r.API,
		Operation:      r.Operation,
		Distribution:   r.Distribution,
		PageKeys:       r.PageKeys,
		Versions:       r.Versions,
		ReadPercent:    r.ReadPercent,
		AbsentKeys:     r.AbsentKeys,
		Serializable:   r.Serializable,
		Keys:           keys,
		ValueSizeBytes: valueSizeBytes,
		Seed:           seed,
	}
}

// Matrix returns all rows with their targets. Rows without an explicit target
// have the floor that holds for everything: no slower than the reference.
func Matrix() []Row {
	atLeast := func(m Metric, ratio float64) Goal { return Goal{Metric: m, Ratio: ratio} }
	// A put of a stock client is never to fall below one and a half of the
	// reference's throughput.
	puts := func(ratio float64) Goal { return Goal{Metric: Throughput, Ratio: ratio, Floor: 1.5} }
	atMost := func(m Metric, ratio float64) Goal { return Goal{Metric: m, Ratio: ratio, AtMost: true} }
	single := []Goal{puts(1.5), atMost(P50, 0.6)}
	many := []Goal{puts(2.5), atMost(P99, 0.4)}
	manyCPU := []Goal{puts(2.5), atMost(P99, 0.4), atMost(CPUPerOp, 0.35)}
	floor := []Goal{atLeast(Throughput, 1)}
	leanPuts := []Goal{puts(1.5)}

	rows := []Row{
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
		serializableGet(1000, 100, floor),
		lean(put(100, 10, measure.TargetLeader, leanPuts)),
		lean(put(1000, 100, measure.TargetLeader, leanPuts)),
		lean(get(100, 10, true, floor)),
		lean(get(1000, 100, true, floor)),
		list(1_000_000, 500, append([]Goal{atMost(Resident, 0.5), atMost(DiskUsed, 0.6)}, floor...)),
		nativePut(),
		versions(false),
		versions(true),
	}
	rows = append(rows, fiveRows()...)
	rows = append(rows, otherRows()...)
	return append(rows, eventRows()...)
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

// lean is a row whose load comes by a client that costs the generator little:
// what gRPC's own takes of the machine that all share hides a part of what the
// servers differ by.
func lean(r Row) Row {
	r.API = kvload.APILean
	r.Name = "lean client: " + r.Name
	return r
}

// serializableGet is answered by whatever member is asked, from its own state.
func serializableGet(clients, connections int, goals []Goal) Row {
	r := get(clients, connections, false, goals)
	r.Name, r.Serializable = "serializable"+strings.TrimPrefix(r.Name, "linearizable"), true
	return r
}

// nativePut sets puts through the native API, whose callers share a few sessions,
// beside stock puts over as many connections as those have elsewhere.
func nativePut() Row {
	return Row{
		Name:    "native put, 1000 clients, to the leader",
		Clients: 1000, Connections: 100, NativeConnections: 4, Target: measure.TargetLeader,
		Goals: []Goal{{Metric: Throughput, Ratio: 6, Floor: 4}, {Metric: CPUPerOp, Ratio: 0.15, AtMost: true}},
	}
}

// list reads all keys in pages. Its memory and disk are those of the keys.
func list(keys, page int, goals []Goal) Row {
	return Row{
		Name:    fmt.Sprintf("%d keys in pages of %d, 1 client, to the leader", keys, page),
		Clients: 1, Connections: 10, Target: measure.TargetLeader, Keys: keys, PageKeys: page, Loaded: true, Goals: goals,
	}
}

// versions rows put at a fixed rate into a store that holds ten versions of
// every key: left alone, or while the old ones are compacted. The second row's
// latencies are to be set beside the first one's of the same side.
func versions(compact bool) Row {
	r := Row{
		Name:    "put at 2000/s into ten versions of 100000 keys, quiet",
		Clients: 100, Connections: 10, Target: measure.TargetLeader, Keys: 100_000, Versions: 10, Rate: 2000, Compact: compact, Loaded: true,
		Goals: []Goal{{Metric: P99, Ratio: 1, AtMost: true}},
	}
	if compact {
		r.Name = "put at 2000/s into ten versions of 100000 keys, during a compaction"
	}
	return r
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
