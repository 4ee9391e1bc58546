package compare

import (
	"context"
	"fmt"

	"raftkv/bench/internal/cluster"
	"raftkv/bench/internal/drill"
	"raftkv/bench/internal/load"
	"raftkv/bench/internal/machine"
	"raftkv/bench/internal/measure"
)

// Events of a row that are more than load; those of drill.Event are the others.
const (
	EventFailover = "failover"
	EventRestart  = "restart"
	EventSpace    = "space"
	EventChurn    = "churn"
)

const (
	// DefaultKills is how often failover rows kill the leader, over all rounds.
	DefaultKills = 20
	// DefaultLoadedKeys is the number of keys of restart and space.
	DefaultLoadedKeys = 1_000_000
	// DefaultEventKeys is the number of keys of the rows that put beside an event:
	// so many that a snapshot is large and a follower misses more than the log that
	// the others keep in memory.
	DefaultEventKeys = 100_000
	// failoverMaxUS is what half of all failovers must not exceed.
	failoverMaxUS = 200_000
	// duringMax bounds p99 beside an event over p99 without.
	duringMax = 1.5
)

// eventRows are the rows in which something happens to the cluster.
func eventRows() []Row {
	ratio := func(m Metric, r float64) Goal { return Goal{Metric: m, Ratio: r, AtMost: true} }
	rows := []Row{
		{Name: "failover after kill -9 of the leader", Event: EventFailover, Goals: []Goal{
			ratio(OutageP50, 0.25), {Metric: OutageP50, Ratio: failoverMaxUS, AtMost: true, Absolute: true},
		}},
		{Name: "restart after kill -9 of all members", Event: EventRestart, Loaded: true, Goals: []Goal{
			ratio(OutageP50, 0.2), ratio(Resident, 0.5), ratio(DiskUsed, 0.6),
		}},
		{Name: "space after loading and overwriting", Event: EventSpace, Loaded: true, Versions: 2, Goals: []Goal{
			ratio(Resident, 0.5), ratio(DiskUsed, 0.6),
		}},
	}
	for _, r := range []struct {
		event    drill.Event
		name     string
		versions int
	}{
		{drill.EventSave, "puts while a snapshot is saved", 1},
		{drill.EventCatchUp, "puts while a follower catches up", 1},
		{drill.EventCompaction, "puts while versions are compacted", 10},
	} {
		rows = append(rows, Row{
			Name: fmt.Sprintf("%s: %s, at half of the maximum", r.event, r.name), Event: string(r.event),
			Clients: 100, Connections: 10, Target: measure.TargetLeader, Versions: r.versions,
			Goals: []Goal{{Metric: DuringOverQuiet, Ratio: duringMax, AtMost: true, Absolute: true}},
		})
	}
	return rows
}

// runEvent lets the row's event happen to a cluster.
func (cfg Config) runEvent(ctx context.Context, row Row, servers *cluster.Cluster, dir string) (measure.Point, error) {
	keys := cfg.EventKeys
	switch {
	case row.Loaded:
		keys = cfg.LoadedKeys
	case row.Event == EventChurn: // as many as its row without kills
		keys = cfg.Keys
	}
	d := drill.Config{
		Servers:     servers,
		Workload:    row.Workload(keys, cfg.ValueSizeBytes, cfg.Seed),
		Load:        load.Config{Clients: max(1, row.Clients), Duration: cfg.Duration, Warmup: cfg.Warmup, Timeout: cfg.Timeout},
		Connections: max(preloadConnections, row.Connections),
		Kills:       (cfg.Kills + cfg.Rounds - 1) / cfg.Rounds,
		Proc:        cfg.Proc,
		Disk:        func() int64 { return machine.DiskUsage(dir) },
	}
	switch row.Event {
	case EventFailover:
		return drill.Failover(ctx, d)
	case EventRestart:
		return drill.Restart(ctx, d)
	case EventSpace:
		return drill.Space(ctx, d)
	case EventChurn:
		return drill.Churn(ctx, d)
	}
	return drill.Disturb(ctx, d, drill.Event(row.Event))
}

// preloadConnections carry the load of rows that have no clients.
const preloadConnections = 10

// outcome is what the progress says of a measurement.
func outcome(row Row, p measure.Point) string {
	switch {
	case p.Outage != nil && len(p.Outage.Seconds) > 0:
		q := func(q float64) string { return measure.Micros(int64(measure.Quantile(p.Outage.Seconds, q) * 1e6)) }
		return fmt.Sprintf("%d times, median %s, worst %s", len(p.Outage.Seconds), q(0.5), q(1))
	case row.Event == EventSpace:
		return fmt.Sprintf("%d MiB resident, %d MiB on disk", p.Servers.ResidentBytes>>20, p.DiskBytes>>20)
	case row.Event == EventChurn:
		return fmt.Sprintf("%.0f/s, p99 %s, %d kills", p.ThroughputPerSecond, measure.Micros(p.Latency.P99US), p.EventRuns)
	case row.Event != "":
		quiet, _ := kindLatency(p, drill.KindQuiet)
		return fmt.Sprintf("%.0f/s of %.0f/s, p99 %s quiet, %s beside %d times of %.2gs", p.RatePerSecond, p.MaximumPerSecond,
			measure.Micros(quiet.P99US), measure.Micros(p.Latency.P99US), p.EventRuns, p.EventSeconds)
	}
	return fmt.Sprintf("%.0f/s, p99 %s", p.ThroughputPerSecond, measure.Micros(p.Latency.P99US))
}

// kindLatency is the latency of one kind of operations.
func kindLatency(p measure.Point, kind string) (load.Latency, bool) {
	for _, k := range p.Kinds {
		if k.Kind == kind && k.Latency.Count > 0 {
			return k.Latency, true
		}
	}
	return load.Latency{}, false
}
