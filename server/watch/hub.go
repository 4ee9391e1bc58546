package watch

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"raftkv/rpc/feed"
	"raftkv/statemachine"
)

// Hub delivers events to the watchers of one member. It is the state machine's
// Follower and the source of the watch streams.
type Hub struct {
	cfg     Config
	history History
	stats   counters

	// Between Apply and Run.
	queue            chan statemachine.Progress
	queuedBytes      atomic.Int64
	queuedRevisions  atomic.Int64
	head             atomic.Int64 // the newest revision told of
	wake             chan struct{}
	watchers, behind atomic.Int64 // all; those that are behind

	// held is what the queues of all streams hold, in bytes.
	held atomic.Int64
	// reads admits streams to the history.
	reads chan struct{}

	mu struct {
		sync.Mutex
		synced *index
		// at is the revision up to which synced watchers were given everything.
		at      int64
		streams map[*Stream]struct{}
		// waiting are the streams that asked for their progress.
		waiting map[*Stream]struct{}
		// overflowed did not take all of the batch at hand.
		overflowed []*Stream
		stopped    bool
	}
}

var (
	_ feed.Source           = (*Hub)(nil)
	_ statemachine.Follower = (*Hub)(nil)
)

// New returns a Hub that follows; Attach comes before the first stream.
func New(cfg Config) (*Hub, error) {
	cfg.EnsureDefaults()
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	h := &Hub{
		cfg: cfg, queue: make(chan statemachine.Progress, batchesMax),
		wake: make(chan struct{}, 1), reads: make(chan struct{}, readsMax),
	}
	h.mu.synced = newIndex()
	h.mu.streams, h.mu.waiting = make(map[*Stream]struct{}), make(map[*Stream]struct{})
	return h, nil
}

// Attach says what to read. It is called once, before Run and Open.
func (h *Hub) Attach(history History) { h.history = history }

// Wants implements statemachine.Follower.
func (h *Hub) Wants() bool { return h.watchers.Load() > 0 }

// Advance implements statemachine.Follower. It never waits (invariant 1).
func (h *Hub) Advance(p statemachine.Progress) {
	h.head.Store(p.To)
	// Whoever registers from now on finds these revisions visible and wants
	// what comes behind them.
	if h.watchers.Load() == 0 {
		return
	}
	began := time.Now()
	h.enqueue(p)
	if time.Since(began) > blockedTime {
		h.stats.blocked.Add(1)
	}
}

func (h *Hub) enqueue(p statemachine.Progress) {
	bytes, revisions := sizeOf(p.Changes), p.To-p.From+1
	full := h.queuedBytes.Load()+bytes > h.cfg.QueueBytesMax || h.queuedRevisions.Load()+revisions > h.cfg.QueueRevisionsMax
	// One that is too large for any queue may still wait alone.
	if !full || h.queuedRevisions.Load() == 0 {
		h.queuedBytes.Add(bytes)
		h.queuedRevisions.Add(revisions)
		select {
		case h.queue <- p:
			return
		default:
			h.dequeued(p)
		}
	}
	h.stats.skipped.Add(1)
	notify(h.wake)
}

func (h *Hub) dequeued(p statemachine.Progress) {
	h.queuedBytes.Add(-sizeOf(p.Changes))
	h.queuedRevisions.Add(p.From - p.To - 1)
}

func sizeOf(changes []statemachine.Change) (n int64) {
	for i := range changes {
		n += int64(len(changes[i].Key) + len(changes[i].Value))
	}
	return n
}

func notify(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// Run hands out events until ctx ends; then every stream ends.
func (h *Hub) Run(ctx context.Context) {
	defer h.stop()
	for {
		select {
		case p := <-h.queue:
			h.dequeued(p)
			h.take(p)
		case <-h.wake:
		case <-ctx.Done():
			return
		}
		// What a full queue left out.
		for len(h.queue) == 0 && ctx.Err() == nil && h.catchUp() {
		}
	}
}

func (h *Hub) stop() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.mu.stopped = true
	for s := range h.mu.streams {
		s.end(feed.ErrStopped)
	}
}

// take hands out a batch, or what the history has in its place.
func (h *Hub) take(p statemachine.Progress) {
	h.mu.Lock()
	usable := p.Collected && p.From <= h.mu.at+1
	if h.watchers.Load() == 0 || p.To <= h.mu.at {
		h.mu.Unlock()
		return
	}
	if usable {
		h.handOutLocked(p.Changes, p.To)
	}
	h.mu.Unlock()
	for !usable && h.catchUp() {
	}
}

// catchUp hands out a piece of history and tells whether there may be more.
func (h *Hub) catchUp() (more bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.watchers.Load() == 0 || h.mu.at >= h.head.Load() || h.mu.stopped {
		return false
	}
	limits := statemachine.HistoryLimits{ScanMax: pieceScanMax, BytesMax: pieceBytesMax}
	piece, err := h.history.History(h.mu.at+1, limits, h.mu.synced.contains)
	switch {
	case errors.Is(err, statemachine.ErrCompacted):
		// Each of them finds out for itself whether that concerns it.
		h.demoteAllLocked()
		h.mu.at = piece.Revision
		return true
	case err != nil:
		h.cfg.Logger.Warn("reading the history for watchers", zap.Error(err))
		return false
	}
	h.stats.caughtUp.Add(uint64(piece.Next - 1 - h.mu.at))
	h.handOutLocked(piece.Changes, piece.Next-1)
	return true
}

// handOutLocked gives the synced watchers their events of changes, with which
// everything up to revision to is done.
func (h *Hub) handOutLocked(changes []statemachine.Change, to int64) {
	for len(changes) > 0 && changes[0].Revision.Main <= h.mu.at {
		changes = changes[1:]
	}
	for _, piece := range divide(changes) {
		c, err := collate(h.mu.synced, piece, h.history)
		if err != nil {
			c.end()
			h.cfg.Logger.Warn("reading what was before a change for watchers", zap.Error(err))
			// Whoever is behind reads it again, or ends with the error.
			h.demoteAllLocked()
			break
		}
		c.deliver(&h.held, h.giveLocked)
		c.end()
		h.mu.at = piece[len(piece)-1].Revision.Main
		h.relieveLocked()
	}
	h.mu.at = max(h.mu.at, to)
	for s := range h.mu.waiting {
		s.progressLocked()
	}
}

// giveLocked puts events into the queue of a watcher's stream, or notes that they
// do not fit.
func (h *Hub) giveLocked(w *watcher, b *bundle) {
	s := w.stream
	if !s.overflowed && s.put(w, b, h.held.Load() > h.cfg.BufferBytesMax) {
		return
	}
	if !s.overflowed {
		s.overflowed = true
		h.mu.overflowed = append(h.mu.overflowed, s)
	}
	w.missed = b.first()
}

// relieveLocked turns the watchers of streams that do not keep up into readers
// of history, and if the queues together hold too much, those of the streams
// that hold most of it.
func (h *Hub) relieveLocked() {
	for i, s := range h.mu.overflowed {
		s.spillLocked()
		h.mu.overflowed[i] = nil
	}
	h.mu.overflowed = h.mu.overflowed[:0]
	if h.held.Load() <= h.cfg.BufferBytesMax {
		return
	}
	// What all streams below the share hold together is half of what there may
	// be at most, so the others let go of the rest.
	share := h.cfg.BufferBytesMax / int64(2*max(1, len(h.mu.streams)))
	for s := range h.mu.streams {
		if s.queuedBytes() > share {
			s.spillLocked()
		}
	}
}

func (h *Hub) demoteAllLocked() {
	for s := range h.mu.streams {
		for _, w := range s.watchers {
			if w.group != nil && w.missed == 0 {
				w.missed = max(w.next, h.mu.at+1)
			}
		}
		s.spillLocked()
	}
}

// demoteLocked makes a synced watcher, whose next is right, one that is behind.
func (h *Hub) demoteLocked(w *watcher) {
	h.mu.synced.remove(w)
	w.stream.behind[w] = struct{}{}
	w.stream.lagging.Add(1)
	h.behind.Add(1)
}

// promoteLocked makes a watcher that is behind, or new, a synced one, if it has
// been given all that the synced ones were (invariant 3).
func (h *Hub) promoteLocked(w *watcher) bool {
	if w.next <= h.mu.at {
		return false
	}
	h.forgetBehindLocked(w)
	h.mu.synced.add(w)
	return true
}

func (h *Hub) forgetBehindLocked(w *watcher) {
	if _, ok := w.stream.behind[w]; ok {
		delete(w.stream.behind, w)
		w.stream.lagging.Add(-1)
		h.behind.Add(-1)
	}
}
