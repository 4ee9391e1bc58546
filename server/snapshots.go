package server

import (
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"raftkv/node"
	"raftkv/rpc/kvstream/kvpb"
	"raftkv/rpc/peer"
	"raftkv/snap"
)

// EventSnapshot tells of a snapshot on its way from or to another member; it is
// beyond the kinds of node. Event.Snapshot says more.
const EventSnapshot node.EventKind = 64

// SnapshotEvent is the transfer of a snapshot as a console tells it.
type SnapshotEvent struct {
	peer.SnapshotProgress
	Name string // of the other member
}

// Phases of a SnapshotEvent.
const (
	SnapshotBegun  = peer.SnapshotBegun
	SnapshotMoving = peer.SnapshotMoving
	SnapshotDone   = peer.SnapshotDone
	SnapshotFailed = peer.SnapshotFailed
)

// snapshots looks after the follower snapshots of one member: it decides when a
// checkpoint is not needed any more, and tells how transfers proceed.
type snapshots struct {
	sendTime, receiveTime     *prometheus.HistogramVec
	received, receiveFailures *prometheus.CounterVec

	mu sync.Mutex
	// waiting are the members whose transfer broke off: they will come back for
	// the rest, and share the checkpoint until then.
	waiting map[uint64]struct{}
}

func newSnapshots() *snapshots {
	seconds := func(name, help, label string) *prometheus.HistogramVec {
		return prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: name, Help: help, Buckets: prometheus.ExponentialBuckets(0.1, 2, 14),
		}, []string{label})
	}
	total := func(name, help, label string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, []string{label})
	}
	return &snapshots{
		waiting:         map[uint64]struct{}{},
		sendTime:        seconds("etcd_network_snapshot_send_total_duration_seconds", "How long snapshots took that were sent, by receiver.", "To"),
		receiveTime:     seconds("etcd_network_snapshot_receive_total_duration_seconds", "How long snapshots took that were received, by sender.", "From"),
		received:        total("etcd_network_snapshot_receive_success", "Snapshots received, by sender.", "From"),
		receiveFailures: total("etcd_network_snapshot_receive_failures", "Attempts to receive a snapshot that failed, by sender.", "From"),
	}
}

// reported is told how a transfer to a member ended. The checkpoint pins disk
// space, so it goes when nobody needs it: no transfer runs, and nobody is to come
// back. Who never does is the store's concern (snap.Options.KeepFor).
func (f *snapshots) reported(s *Server, id uint64, ok bool) {
	f.mu.Lock()
	if ok {
		delete(f.waiting, id)
	} else {
		f.waiting[id] = struct{}{}
	}
	idle := len(f.waiting) == 0
	f.mu.Unlock()
	for _, p := range s.transport.Stats().Peers {
		idle = idle && !p.Snapshotting
	}
	if idle {
		f.trim(s)
	}
}

// leads is told the member's role whenever it may have changed. Whoever leads no
// more has no business with the others' state.
func (f *snapshots) leads(s *Server, leads bool) {
	if leads {
		return
	}
	f.mu.Lock()
	clear(f.waiting)
	f.mu.Unlock()
	s.transport.AbandonSnapshots()
	f.trim(s)
}

func (f *snapshots) trim(s *Server) {
	if err := s.rooms.snaps.Trim(); err != nil {
		s.cfg.Logger.Warn("a checkpoint that is not needed any more cannot be removed", zap.Error(err))
	}
}

// watchLeadership follows the member's role until it stops.
func (s *Server) watchLeadership() {
	n := s.node.Load()
	leading := func(want bool) bool {
		return n.WaitFor(s.ctx, func(status node.Status) bool { return (status.Role == node.Leader) == want }) == nil
	}
	for leading(true) && leading(false) {
		s.snapshots.leads(s, false)
	}
}

// progressed is the transport's hook.
func (f *snapshots) progressed(s *Server, p peer.SnapshotProgress) {
	name := s.nameOf(p.Peer)
	f.measure(p)
	fields := []zap.Field{
		zap.String("node", name), zap.Uint64("index", p.Index), zap.Int64("done-bytes", p.DoneBytes),
		zap.Int64("to-go-bytes", p.TotalBytes-p.DoneBytes), zap.Int64("bytes-per-second", p.BytesPerSecond), zap.Duration("left", p.Left),
	}
	doing := "receiving a snapshot"
	if p.Sending {
		doing = "sending a snapshot"
	}
	switch p.Phase {
	case peer.SnapshotBegun:
		s.cfg.Logger.Info("began "+doing, fields...)
	case peer.SnapshotMoving:
		s.cfg.Logger.Info(doing, fields...)
	case peer.SnapshotDone:
		s.cfg.Logger.Info("finished "+doing, append(fields, zap.Duration("took", p.Elapsed), zap.Int64("moved-bytes", p.MovedBytes))...)
	case peer.SnapshotFailed:
		s.cfg.Logger.Info("stopped "+doing, append(fields, zap.Error(p.Err))...)
	}
	if p.Phase != peer.SnapshotFailed || p.DoneBytes > 0 { // one that never began is no story
		event := Event{Event: node.Event{Kind: EventSnapshot}, Snapshot: &SnapshotEvent{p, name}}
		event.Leading = s.status().Role == node.Leader
		s.events.put(event)
	}
}

func (f *snapshots) measure(p peer.SnapshotProgress) {
	id := fmt.Sprintf("%x", p.Peer)
	switch {
	case p.Phase == peer.SnapshotDone && p.Sending:
		f.sendTime.WithLabelValues(id).Observe(p.Elapsed.Seconds())
	case p.Phase == peer.SnapshotDone:
		f.receiveTime.WithLabelValues(id).Observe(p.Elapsed.Seconds())
		f.received.WithLabelValues(id).Inc()
	case p.Phase == peer.SnapshotFailed && !p.Sending:
		f.receiveFailures.WithLabelValues(id).Inc()
	}
}

// register exports what etcd's dashboards expect under etcd's names, and the
// rest under ours.
func (f *snapshots) register(s *Server) error {
	of := func(value func(snap.Stats) float64) func() float64 {
		return func() float64 { return value(s.rooms.snaps.Stats()) }
	}
	var errs []error
	for _, c := range []prometheus.Collector{
		f.sendTime, f.receiveTime, f.received, f.receiveFailures, newSnapshotFlow(s.transport),
		gauge("etcd_server_snapshot_apply_in_progress_total", "1 if the state is being replaced by a snapshot.", of(func(n snap.Stats) float64 {
			if n.Installing {
				return 1
			}
			return 0
		})),
		counter("raftkv_snapshot_checkpoints_total", "Snapshots of its state that this member made.", of(func(n snap.Stats) float64 { return float64(n.Checkpoints) })),
		counter("raftkv_snapshot_staged_total", "Snapshots received in full.", of(func(n snap.Stats) float64 { return float64(n.Staged) })),
		counter("raftkv_snapshot_installed_total", "Snapshots that replaced the state.", of(func(n snap.Stats) float64 { return float64(n.Installed) })),
		counter("raftkv_snapshot_received_bytes_total", "Bytes of snapshots that came from other members.", of(func(n snap.Stats) float64 { return float64(n.ReceivedBytes) })),
		counter("raftkv_snapshot_resumed_bytes_total", "Bytes that were here from an earlier attempt at the same snapshot.", of(func(n snap.Stats) float64 { return float64(n.ResumedBytes) })),
		counter("raftkv_snapshot_reused_bytes_total", "Bytes that were here as part of another snapshot or of the state.", of(func(n snap.Stats) float64 { return float64(n.ReusedBytes) })),
	} {
		errs = append(errs, s.cfg.Registry.Register(c))
	}
	return errors.Join(errs...)
}

// snapshotTransfers are the transfers that run, for the native status.
func (s *Server) snapshotTransfers() []*kvpb.SnapshotTransfer {
	var all []*kvpb.SnapshotTransfer
	for _, p := range s.transport.Snapshots() {
		all = append(all, &kvpb.SnapshotTransfer{
			MemberId: p.Peer, MemberName: s.nameOf(p.Peer), Sending: p.Sending, Index: p.Index,
			DoneBytes: uint64(p.DoneBytes), TotalBytes: uint64(p.TotalBytes), BytesPerSecond: uint64(p.BytesPerSecond),
			LeftMs: uint64(p.Left / time.Millisecond),
		})
	}
	return all
}
