package watch

import (
	"context"

	"raftkv/rpc/feed"
)

// awaitRoom waits until the queue has room for one more answer. A client that
// asks and does not read is read no further.
func (s *Stream) awaitRoom(ctx context.Context) error {
	for {
		s.mu.Lock()
		err, free := s.mu.err, s.mu.controls < controlsMax
		s.mu.Unlock()
		if err != nil || free {
			return err
		}
		select {
		case <-s.room:
		case <-s.done:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// answer queues an answer; w is the watcher whose creation it is.
func (s *Stream) answer(w *watcher, m *feed.Message) {
	s.mu.Lock()
	if s.mu.err == nil {
		s.mu.queue = append(s.mu.queue, item{w: w, m: m})
		s.mu.controls++
	}
	s.mu.Unlock()
	notify(s.wake)
}

// announce queues a message of progress, of a watcher or, for nil, of all,
// unless one waits already.
func (s *Stream) announce(w *watcher, revision int64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	announced, id := &s.mu.announced, int64(feed.InvalidID)
	if w != nil {
		announced, id = &w.announced, w.id
	}
	if *announced {
		return false
	}
	*announced = true
	if s.mu.err == nil {
		s.mu.queue = append(s.mu.queue, item{w: w, m: &feed.Message{WatchID: id, Revision: revision}, progress: true})
	}
	notify(s.wake)
	return true
}

// put queues events, unless the queue is full or all queues together are.
func (s *Stream) put(w *watcher, b *bundle, full bool) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.mu.err != nil {
		return true // nobody takes them
	}
	messages := len(s.mu.queue) >= queueMessagesMin+queueMessagesByWatcher*len(s.watchers)
	if full || messages || (s.mu.bytes > 0 && s.mu.bytes+b.bytes > queueBytesMax) {
		return false
	}
	b.acquire()
	s.mu.bytes += b.bytes
	s.hub.stats.pending.Add(int64(len(b.events)))
	s.mu.queue = append(s.mu.queue, item{w: w, b: b})
	notify(s.wake)
	return true
}

func (s *Stream) queuedBytes() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.mu.bytes
}

// letGo takes an item out of the accounts. Stream.mu is held.
func (s *Stream) letGo(it item) {
	switch {
	case it.b != nil:
		s.mu.bytes -= it.b.bytes
		s.hub.stats.pending.Add(-int64(len(it.b.events)))
		it.b.release()
	case !it.progress:
		s.mu.controls--
		notify(s.room)
	case it.w != nil:
		it.w.announced = false
	default:
		s.mu.announced = false
	}
}

// spillLocked empties the queue of what can be read again, and makes its watchers
// read it. Hub.mu is held.
func (s *Stream) spillLocked() {
	s.hub.stats.spills.Add(1)
	s.overflowed = false
	s.mu.Lock()
	var kept []item
	for _, it := range s.mu.queue {
		switch {
		case it.b != nil:
			if it.w.missed == 0 || it.b.first() < it.w.missed {
				it.w.missed = it.b.first()
			}
			s.letGo(it)
		case it.progress:
			// It would come before events that it promises.
			if it.w == nil {
				s.target = max(s.target, it.m.Revision)
				s.hub.mu.waiting[s] = struct{}{}
			}
			s.letGo(it)
		default:
			kept = append(kept, it)
		}
	}
	s.mu.queue = kept
	s.mu.Unlock()
	for _, w := range s.watchers {
		if w.missed != 0 && w.group != nil {
			w.next = w.missed
			s.hub.demoteLocked(w)
		}
		w.missed = 0
	}
	notify(s.wake)
}

// pop takes the next message from the queue; nil if there is none.
func (s *Stream) pop() (m *feed.Message, ofAll bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for len(s.mu.queue) > 0 {
		it := s.shift()
		switch {
		case it.b != nil:
			if !it.w.gone.Load() {
				it.w.quiet = false
				return s.eventsOf(it), false
			}
		case it.progress:
			if it.w == nil || !it.w.gone.Load() {
				return it.m, it.w == nil
			}
		default:
			if it.w != nil {
				it.w.known = true
			}
			return it.m, false
		}
	}
	return nil, false
}

// shift removes the first item. Stream.mu is held.
func (s *Stream) shift() item {
	it := s.mu.queue[0]
	s.mu.queue[0] = item{}
	s.mu.queue = s.mu.queue[1:]
	if len(s.mu.queue) == 0 {
		s.mu.queue = nil // a burst must not pin its memory
	}
	s.letGo(it)
	return it
}

// eventsOf makes the message of an item, and of those behind it for the same
// watcher if many wait. Stream.mu is held.
func (s *Stream) eventsOf(it item) *feed.Message {
	events, bytes := it.b.events, it.b.bytes
	for len(s.mu.queue) >= mergeAbove && bytes < bundleBytesMax {
		next := s.mu.queue[0]
		if next.w != it.w || next.b == nil {
			break
		}
		// The list is shared, so appending must copy it.
		events = append(events[:len(events):len(events)], next.b.events...)
		bytes += next.b.bytes
		s.shift()
	}
	return &feed.Message{WatchID: it.w.id, Revision: events[len(events)-1].Revision, Events: events, MaySplit: it.w.spec.Fragment}
}
