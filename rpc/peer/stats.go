package peer

import (
	"cmp"
	"slices"
	"sync/atomic"
)

type counters struct {
	received      atomic.Uint64
	misdirected   atomic.Uint64
	refused       atomic.Uint64
	holdersFailed atomic.Uint64
}

type laneCounters struct {
	messages, frames, bytes atomic.Uint64
}

type snapshotCounters struct {
	sent, failed, bytes atomic.Uint64
}

// Stats are counters since the start and lengths of queues now, for metrics.
type Stats struct {
	// Received counts messages and batches of all members, Misdirected those
	// of them that were ignored because no honest member sends them.
	Received, Misdirected uint64
	// Refused counts handshakes and questions of others that we refused.
	Refused uint64
	// HoldersFailed counts questions for holders that got no answer.
	HoldersFailed uint64
	Peers         []PeerStats // by id
}

// PeerStats describe one member. They start anew when its URLs change.
type PeerStats struct {
	ID           uint64
	Urgent, Bulk LaneStats

	SnapshotsSent, SnapshotsFailed, SnapshotBytes uint64
	Snapshotting                                  bool
}

// LaneStats describe one lane. Bytes are payload, not exactly what the wire
// carried.
type LaneStats struct {
	Connected                           bool
	SentMessages, SentFrames, SentBytes uint64
	Dropped                             uint64
	QueuedMessages, QueuedBytes         int
}

// Stats returns the transport's counters.
func (t *Transport) Stats() Stats {
	s := Stats{
		Received: t.counters.received.Load(), Misdirected: t.counters.misdirected.Load(),
		Refused: t.counters.refused.Load(), HoldersFailed: t.counters.holdersFailed.Load(),
	}
	for id, r := range *t.peers.Load() {
		s.Peers = append(s.Peers, PeerStats{
			ID: id, Urgent: r.urgent.stats(), Bulk: r.bulk.stats(),
			SnapshotsSent: r.snapshots.sent.Load(), SnapshotsFailed: r.snapshots.failed.Load(), SnapshotBytes: r.snapshots.bytes.Load(),
			Snapshotting: r.streaming.Load(),
		})
	}
	slices.SortFunc(s.Peers, func(a, b PeerStats) int { return cmp.Compare(a.ID, b.ID) })
	return s
}

func (l *lane) stats() LaneStats {
	messages, bytes, dropped := l.queue.stats()
	return LaneStats{
		Connected: l.connected(), Dropped: dropped, QueuedMessages: messages, QueuedBytes: bytes,
		SentMessages: l.sent.messages.Load(), SentFrames: l.sent.frames.Load(), SentBytes: l.sent.bytes.Load(),
	}
}
