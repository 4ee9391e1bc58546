package watch

import "sync/atomic"

type counters struct {
	blocked, skipped, caughtUp atomic.Uint64
	events                     atomic.Uint64
	pending                    atomic.Int64
	spills                     atomic.Uint64
}

// Stats are what the Hub tells about itself.
type Stats struct {
	Streams, Watchers, Behind int64
	// Events is how many were sent, Pending how many wait in the queues of
	// streams; HeldBytes is what these take.
	Events    uint64
	Pending   int64
	HeldBytes int64
	// QueuedRevisions and QueuedBytes wait between Apply and the Hub.
	QueuedRevisions, QueuedBytes int64
	// SkippedBatches found that queue full; CaughtUpRevisions were read from the
	// history instead, for all synced watchers at once.
	SkippedBatches, CaughtUpRevisions uint64
	// Spills is how often a stream did not keep up and was made to read history.
	Spills uint64
	// ApplyBlocked is how often handing over a batch took a second or more.
	ApplyBlocked uint64
}

// Stats returns the numbers as they are now.
func (h *Hub) Stats() Stats {
	h.mu.Lock()
	streams := len(h.mu.streams)
	h.mu.Unlock()
	return Stats{
		Streams: int64(streams), Watchers: h.watchers.Load(), Behind: h.behind.Load(),
		Events: h.stats.events.Load(), Pending: h.stats.pending.Load(), HeldBytes: h.held.Load(),
		QueuedRevisions: h.queuedRevisions.Load(), QueuedBytes: h.queuedBytes.Load(),
		SkippedBatches: h.stats.skipped.Load(), CaughtUpRevisions: h.stats.caughtUp.Load(),
		Spills: h.stats.spills.Load(), ApplyBlocked: h.stats.blocked.Load(),
	}
}
