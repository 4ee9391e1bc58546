package watch

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"raftkv/rpc/feed"
	"raftkv/statemachine"
)

// reader is what belongs to the goroutine that calls Next.
type reader struct {
	// local are messages made of history that were not sent yet.
	local []localMessage
	turn  int // messages of the queue since the last piece of history
	// newest: the next piece is for the watcher that is behind least.
	newest   bool
	timer    *time.Timer
	interval time.Duration
}

type localMessage struct {
	w *watcher
	m *feed.Message
}

// Next implements feed.Stream.
func (s *Stream) Next(ctx context.Context) (*feed.Message, error) {
	for {
		select {
		case <-s.done:
			s.timer.Stop()
			s.mu.Lock()
			defer s.mu.Unlock()
			return nil, s.mu.err
		default:
		}
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		m, more, err := s.attempt(ctx)
		if err != nil {
			return nil, err
		}
		if m != nil {
			s.hub.stats.events.Add(uint64(len(m.Events)))
			return m, nil
		}
		if more {
			continue
		}
		select {
		case <-s.wake:
		case <-s.timer.C:
			s.tick()
		case <-s.done:
		case <-ctx.Done():
		}
	}
}

// attempt returns the next message if there is one, and whether trying again may
// find one. History that was read goes first; the queue and the watchers that
// are behind take turns.
func (s *Stream) attempt(ctx context.Context) (m *feed.Message, more bool, err error) {
	if m := s.takeLocal(); m != nil {
		return m, false, nil
	}
	behind := s.lagging.Load() > 0
	if !behind || s.turn < turnMax {
		if m := s.take(); m != nil {
			s.turn++
			return m, false, nil
		}
	}
	if !behind {
		return nil, false, nil
	}
	s.turn = 0
	more, err = s.read(ctx)
	if more || err != nil {
		return nil, more, err
	}
	return s.take(), false, nil
}

func (s *Stream) takeLocal() *feed.Message {
	for len(s.local) > 0 {
		next := s.local[0]
		s.local[0] = localMessage{}
		s.local = s.local[1:]
		if next.w.gone.Load() {
			continue
		}
		if len(next.m.Events) > 0 {
			s.mu.Lock()
			next.w.quiet = false
			s.mu.Unlock()
		}
		return next.m
	}
	s.local = nil
	return nil
}

// take is pop; behind a message of the progress of all there may be another.
func (s *Stream) take() *feed.Message {
	m, ofAll := s.pop()
	if ofAll {
		s.hub.mu.Lock()
		s.progressLocked()
		s.hub.mu.Unlock()
	}
	return m
}

func (s *Stream) tick() {
	s.timer.Reset(s.interval)
	s.hub.mu.Lock()
	defer s.hub.mu.Unlock()
	s.tickLocked()
}

// lagger is a watcher that is behind, as the reading of one piece of history sees
// it: a copy, because the original may be cancelled meanwhile.
type lagger struct{ copied, original *watcher }

// plan makes watchers synced that have caught up, and says what to read for the
// others. Nothing read before is unsent when it is called.
func (s *Stream) plan() (all []lagger, start int64, limits statemachine.HistoryLimits) {
	h := s.hub
	h.mu.Lock()
	defer h.mu.Unlock()
	s.newest = !s.newest
	for w := range s.behind {
		// What is read must not be sent before the creation.
		if !w.known || h.promoteLocked(w) {
			continue
		}
		all = append(all, lagger{&watcher{stream: s, spec: w.spec, id: w.id, next: w.next}, w})
		if start == 0 || (w.next > start) == s.newest {
			start = w.next
		}
	}
	if len(all) == 0 {
		s.progressLocked()
	}
	share := h.cfg.HistoryBytesMax / max(1, min(h.behind.Load(), int64(len(h.mu.streams))))
	limits.ScanMax, limits.BytesMax = pieceScanMax, int(min(max(share, pieceBytesMin), pieceBytesMax))
	return all, start, limits
}

// read reads a piece of history for the watchers that are behind: in turn for the
// one that is furthest behind, and for the one that has least to go, so that
// neither waits for the other; any other gets what it meets of it. It reports
// whether anything was to be read.
func (s *Stream) read(ctx context.Context) (bool, error) {
	all, start, limits := s.plan()
	if len(all) == 0 {
		return false, nil
	}
	x := newIndex()
	originals := make(map[*watcher]*watcher, len(all))
	for _, l := range all {
		// Who is further behind would miss what lies before the piece.
		if l.copied.next >= start {
			x.add(l.copied)
			originals[l.copied] = l.original
		}
	}
	piece, c, err := s.readPiece(ctx, x, start, limits)
	if errors.Is(err, statemachine.ErrCompacted) {
		s.cancelCompacted(all, piece.Compacted)
		return true, nil
	}
	if err != nil {
		return false, err
	}
	var scrap atomic.Int64
	c.deliver(&scrap, func(w *watcher, b *bundle) {
		s.local = append(s.local, localMessage{originals[w], &feed.Message{
			WatchID: w.id, Revision: piece.Revision, Events: b.events, MaySplit: w.spec.Fragment}})
	})
	s.settle(all, start, piece.Next)
	return true, nil
}

// readPiece reads a piece of history and what was before its changes. Few streams
// do so at once.
func (s *Stream) readPiece(ctx context.Context, x *index, start int64, limits statemachine.HistoryLimits) (piece statemachine.History, c *collation, err error) {
	h := s.hub
	select {
	case h.reads <- struct{}{}:
	case <-ctx.Done():
		return piece, nil, ctx.Err()
	case <-s.done:
		return piece, nil, feed.ErrStopped
	}
	defer func() { <-h.reads }()
	if piece, err = h.history.History(start, limits, x.contains); err != nil {
		return piece, nil, err
	}
	c, err = collate(x, piece.Changes, h.history)
	return piece, c, err
}

// settle notes what was read, for those that were given it.
func (s *Stream) settle(all []lagger, start, next int64) {
	s.hub.mu.Lock()
	defer s.hub.mu.Unlock()
	for _, l := range all {
		if l.original.next >= start {
			l.original.next = max(l.original.next, next)
		}
	}
}

// cancelCompacted ends the watchers that want what is compacted.
func (s *Stream) cancelCompacted(all []lagger, compacted int64) {
	h := s.hub
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, l := range all {
		w := l.original
		if w.next >= compacted || w.gone.Load() {
			continue
		}
		h.forgetBehindLocked(w)
		h.watchers.Add(-1)
		w.compacted = true
		s.local = append(s.local, localMessage{w, &feed.Message{WatchID: w.id, Canceled: true, CompactRevision: compacted}})
	}
}
