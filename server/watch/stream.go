package watch

import (
	"bytes"
	"context"
	"sync"
	"sync/atomic"
	"time"

	"raftkv/rpc/feed"
)

// What a creation is refused with, in etcd's words.
const (
	reasonEmptyRange  = "mvcc: watcher range is empty"
	reasonDuplicateID = "mvcc: duplicate watch ID provided on the WatchStream"
)

// Stream is the watches of one client stream.
type Stream struct {
	hub *Hub
	// wake tells the sender that there may be something to do, room whoever asks
	// that an answer was taken. done is closed when the stream has ended.
	wake, room, done chan struct{}
	// lagging is how many of its watchers are behind.
	lagging atomic.Int64

	// Hub.mu guards these.

	watchers map[int64]*watcher
	behind   map[*watcher]struct{}
	nextID   int64
	// target is the revision from which on progress is to be told; 0: none is.
	target     int64
	overflowed bool
	closed     bool

	mu struct {
		sync.Mutex
		queue    []item
		controls int   // answers in it
		bytes    int64 // of events in it
		// announced: a message of the progress of all waits in it.
		announced bool
		err       error // why the stream has ended
	}

	reader // belongs to the goroutine that calls Next
}

// item waits in the queue of a stream: events for a watcher, or a message, which
// is an answer or one of progress.
type item struct {
	w        *watcher // nil: all of them, or none
	b        *bundle
	m        *feed.Message
	progress bool
}

// Open implements feed.Source.
func (h *Hub) Open() feed.Stream {
	s := &Stream{
		hub: h, wake: make(chan struct{}, 1), room: make(chan struct{}, 1), done: make(chan struct{}),
		watchers: make(map[int64]*watcher), behind: make(map[*watcher]struct{}),
	}
	s.interval = h.cfg.interval()
	s.timer = time.NewTimer(s.interval)
	h.mu.Lock()
	defer h.mu.Unlock()
	h.mu.streams[s] = struct{}{}
	if h.mu.stopped {
		s.end(feed.ErrStopped)
	}
	return s
}

// Create implements feed.Stream.
func (s *Stream) Create(ctx context.Context, spec feed.Spec) error {
	if err := s.awaitRoom(ctx); err != nil {
		return err
	}
	h := s.hub
	h.mu.Lock()
	defer h.mu.Unlock()
	if s.closed {
		return feed.ErrStopped
	}
	// In this order: a batch that is not collected because nobody is registered
	// yet is one that this revision includes.
	first := h.watchers.Add(1) == 1
	revision := h.history.Revision()
	if first {
		h.mu.at = max(h.mu.at, revision)
	}
	id, reason := s.chooseIDLocked(spec)
	if reason != "" {
		h.watchers.Add(-1)
		s.answer(nil, refusal(revision, reason))
		return nil
	}
	w := &watcher{stream: s, spec: spec, id: id, next: spec.StartRevision, quiet: true}
	s.watchers[id] = w
	if spec.StartRevision == 0 || spec.StartRevision > revision {
		w.next = max(w.next, revision+1)
		h.promoteLocked(w)
	} else {
		s.behind[w] = struct{}{}
		s.lagging.Add(1)
		h.behind.Add(1)
	}
	// Last: it wakes the sender, which looks for laggards without Hub.mu and
	// sleeps again if there are none. Nothing of w comes before it in the queue,
	// since whoever would put it there waits for Hub.mu.
	s.answer(w, &feed.Message{WatchID: id, Revision: revision, Created: true})
	return nil
}

func refusal(revision int64, reason string) *feed.Message {
	return &feed.Message{WatchID: feed.InvalidID, Revision: revision, Created: true, Canceled: true, CancelReason: reason}
}

// chooseIDLocked returns the id of a new watch, or why it cannot be.
func (s *Stream) chooseIDLocked(spec feed.Spec) (id int64, reason string) {
	if len(spec.End) > 0 && bytes.Compare(spec.Key, spec.End) >= 0 {
		return 0, reasonEmptyRange
	}
	if spec.ID != 0 {
		if s.watchers[spec.ID] != nil {
			return 0, reasonDuplicateID
		}
		return spec.ID, ""
	}
	for s.watchers[s.nextID] != nil {
		s.nextID++
	}
	s.nextID++
	return s.nextID - 1, ""
}

// Refuse implements feed.Stream.
func (s *Stream) Refuse(ctx context.Context, reason string) error {
	if err := s.awaitRoom(ctx); err != nil {
		return err
	}
	s.answer(nil, refusal(s.hub.history.Revision(), reason))
	return nil
}

// Cancel implements feed.Stream.
func (s *Stream) Cancel(ctx context.Context, id int64) error {
	if err := s.awaitRoom(ctx); err != nil {
		return err
	}
	h := s.hub
	h.mu.Lock()
	defer h.mu.Unlock()
	if s.closed {
		return feed.ErrStopped
	}
	w := s.watchers[id]
	if w == nil {
		return nil
	}
	s.removeLocked(w)
	s.answer(nil, &feed.Message{WatchID: id, Revision: h.history.Revision(), Canceled: true})
	// It may have been the one that the others were waiting for.
	s.progressLocked()
	return nil
}

func (s *Stream) removeLocked(w *watcher) {
	h := s.hub
	w.gone.Store(true)
	if w.group != nil {
		h.mu.synced.remove(w)
	}
	h.forgetBehindLocked(w)
	if !w.compacted {
		h.watchers.Add(-1)
	}
	delete(s.watchers, w.id)
}

// Close implements feed.Stream.
func (s *Stream) Close() {
	h := s.hub
	h.mu.Lock()
	defer h.mu.Unlock()
	if s.closed {
		return
	}
	s.closed = true
	for _, w := range s.watchers {
		s.removeLocked(w)
	}
	delete(h.mu.streams, s)
	delete(h.mu.waiting, s)
	s.end(feed.ErrStopped)
}

// end makes Next and those who wait return err.
func (s *Stream) end(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.mu.err != nil {
		return
	}
	s.mu.err = err
	for _, it := range s.mu.queue {
		s.letGo(it)
	}
	s.mu.queue = nil
	close(s.done)
}

// RequestProgress implements feed.Stream.
func (s *Stream) RequestProgress() {
	h := s.hub
	h.mu.Lock()
	defer h.mu.Unlock()
	if s.closed || len(s.watchers) == 0 {
		return
	}
	s.target = max(s.target, h.history.Revision())
	h.mu.waiting[s] = struct{}{}
	s.progressLocked()
}

// progressLocked tells the progress of all watches, if it is wanted and they have
// come that far (invariant 5).
func (s *Stream) progressLocked() {
	h := s.hub
	if s.target == 0 || len(s.behind) > 0 || h.mu.at < s.target {
		return
	}
	active := false
	for _, w := range s.watchers {
		if w.compacted {
			continue
		}
		if w.spec.StartRevision > h.mu.at {
			return
		}
		active = true
	}
	if active && !s.announce(nil, h.mu.at) {
		return // when that one is taken
	}
	s.target = 0
	delete(h.mu.waiting, s)
}

// tickLocked tells the progress of those watches that asked to hear of it and had
// no event for an interval.
func (s *Stream) tickLocked() {
	at := s.hub.mu.at
	for _, w := range s.watchers {
		if !w.spec.ProgressNotify || w.compacted {
			continue
		}
		s.mu.Lock()
		quiet := w.quiet
		w.quiet = true
		s.mu.Unlock()
		if quiet && w.group != nil && w.spec.StartRevision <= at {
			s.announce(w, at)
		}
	}
}
