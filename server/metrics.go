package server

import (
	"errors"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"raftkv/node"
)

// registerMetrics exports what dashboards for etcd expect under etcd's names,
// and the member's queues under ours (invariant 5).
func (s *Server) registerMetrics(offered services) error {
	errs := []error{
		s.upkeepMetrics(),
		s.watchMetrics(),
		s.snapshots.register(s),
		s.cfg.Registry.Register(collectors.NewGoCollector()),
		s.cfg.Registry.Register(collectors.NewProcessCollector(collectors.ProcessCollectorOpts{})),
		s.cfg.Registry.Register(offered.stats),
		s.cfg.Registry.Register(offered.calls),
		s.cfg.Registry.Register(offered.metrics),
		s.cfg.Registry.Register(offered.frames),
		s.cfg.Registry.Register(s.fsyncs),
		s.cfg.Registry.Register(newPeerMetrics(s.transport.Stats)),
	}
	for _, c := range append(s.raftMetrics(), s.queueMetrics()...) {
		errs = append(errs, s.cfg.Registry.Register(c))
	}
	return errors.Join(errs...)
}

func newFsyncHistogram() prometheus.Histogram {
	return prometheus.NewHistogram(prometheus.HistogramOpts{
		Name: "etcd_disk_wal_fsync_duration_seconds", Help: "Duration of writes to the raft log that ended with an fsync.",
		Buckets: prometheus.ExponentialBuckets(0.001, 2, 14),
	})
}

func (s *Server) observeFsync(d time.Duration) { s.fsyncs.Observe(d.Seconds()) }

func (s *Server) raftMetrics() []prometheus.Collector {
	of := func(f func(node.Status) float64) func() float64 {
		return func() float64 { return f(s.status()) }
	}
	truth := func(b bool) float64 {
		if b {
			return 1
		}
		return 0
	}
	return []prometheus.Collector{
		gauge("etcd_server_has_leader", "1 if a leader is known.", of(func(n node.Status) float64 { return truth(n.Leader != 0) })),
		gauge("etcd_server_is_leader", "1 if this member leads.", of(func(n node.Status) float64 { return truth(n.Role == node.Leader) })),
		gauge("etcd_server_is_learner", "1 if this member is a learner.", of(func(n node.Status) float64 { return truth(n.Role == node.Learner) })),
		counter("etcd_server_leader_changes_seen_total", "Leaders seen since the start.", of(func(n node.Status) float64 { return float64(n.LeaderChanges) })),
		gauge("etcd_server_proposals_committed_total", "Index of the last committed entry.", of(func(n node.Status) float64 { return float64(n.Commit) })),
		gauge("etcd_server_proposals_applied_total", "Index of the last applied entry.", of(func(n node.Status) float64 { return float64(n.Applied) })),
		gauge("raftkv_raft_term", "Raft term of this member.", of(func(n node.Status) float64 { return float64(n.Term) })),
		gauge("raftkv_raft_first_index", "First entry of the log.", of(func(n node.Status) float64 { return float64(n.First) })),
		gauge("raftkv_raft_last_index", "Last durable entry of the log.", of(func(n node.Status) float64 { return float64(n.Last) })),
		gauge("raftkv_node_leader_lease", "1 if this member leads and has a lease.", of(func(n node.Status) float64 { return truth(n.Lease) })),
		gauge("raftkv_server_lease_promise_seconds", "For how long voters promise their leader not to help another to win; 0: lease reads are off.", func() float64 { return s.rooms.machine.LeaseReads().Seconds() }),
		gauge("etcd_debugging_mvcc_current_revision", "Revision of the store.", func() float64 { return float64(s.rooms.machine.Revision()) }),
	}
}

func (s *Server) queueMetrics() []prometheus.Collector {
	of := func(f func(node.Stats) float64) func() float64 {
		return func() float64 {
			if n := s.node.Load(); n != nil {
				return f(n.Stats())
			}
			return 0
		}
	}
	rounds := func(by string, f func(node.Stats) uint64) prometheus.Collector {
		return prometheus.NewCounterFunc(prometheus.CounterOpts{
			Name: "raftkv_node_read_rounds_total", Help: "Rounds of linearizable reads that this member confirmed as leader, its own and those of others.",
			ConstLabels: prometheus.Labels{"by": by},
		}, of(func(q node.Stats) float64 { return float64(f(q)) }))
	}
	return []prometheus.Collector{
		rounds("lease", func(q node.Stats) uint64 { return q.ReadsByLease }),
		rounds("quorum", func(q node.Stats) uint64 { return q.ReadsByQuorum }),
		counter("raftkv_server_events_dropped_total", "Events of the node's life that nobody took in time.", func() float64 { return float64(s.events.dropped.Load()) }),
		gauge("etcd_server_proposals_pending", "Commands that wait to be packed into an entry.", of(func(q node.Stats) float64 { return float64(q.QueuedCommands) })),
		gauge("raftkv_node_batches_gathered", "Batches of other members that this leader has yet to propose.", of(func(q node.Stats) float64 { return float64(q.GatheredBatches) })),
		gauge("raftkv_node_batches_in_flight", "Batches of this member that are proposed and not applied.", of(func(q node.Stats) float64 { return float64(q.InflightBatches) })),
		gauge("raftkv_node_writes_queued", "Tasks that wait for the log writer.", of(func(q node.Stats) float64 { return float64(q.QueuedWrites) })),
		gauge("raftkv_node_applies_queued", "Tasks that wait for the applier.", of(func(q node.Stats) float64 { return float64(q.QueuedApplies) })),
		counter("raftkv_node_messages_dropped_total", "Messages of peers dropped because the inbox was full.", of(func(q node.Stats) float64 { return float64(q.DroppedMessages) })),
		counter("raftkv_node_acknowledgements_held_total", "Acknowledgements of appends that this member held back while it was behind with applying.", of(func(q node.Stats) float64 { return float64(q.Slowness.AcksHeld) })),
		counter("raftkv_node_ticks_waited_total", "Ticks in which this leader left proposals for the next one, because a member was behind.", of(func(q node.Stats) float64 { return float64(q.Slowness.TicksWaited) })),
		counter("raftkv_node_disk_handovers_total", "How often this leader began to hand over because its disk did not finish an append.", of(func(q node.Stats) float64 { return float64(q.Slowness.DiskTransfers) })),
	}
}

func gauge(name, help string, f func() float64) prometheus.Collector {
	return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, f)
}

func counter(name, help string, f func() float64) prometheus.Collector {
	return prometheus.NewCounterFunc(prometheus.CounterOpts{Name: name, Help: help}, f)
}
