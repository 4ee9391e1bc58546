package snap

import (
	"time"

	"go.uber.org/zap"
)

// Nothing here pins disk space for ever: a checkpoint that nobody has read and
// a staging that nobody has written for Options.KeepFor goes away. Whoever comes
// back later starts anew.

// sweepLaterLocked sees to it that what has become idle is looked at in time.
func (s *Store) sweepLaterLocked() {
	if s.opts.Synchronous || s.mu.closed || s.mu.sweeper != nil {
		return
	}
	s.mu.sweeper = time.AfterFunc(s.opts.KeepFor, s.sweep)
}

func (s *Store) sweep() {
	now := time.Now()
	s.mu.Lock()
	s.mu.sweeper = nil
	if s.mu.closed {
		s.mu.Unlock()
		return
	}
	s.making.Add(1)
	defer s.making.Done()
	expired := func(last time.Time) bool { return now.Sub(last) >= s.opts.KeepFor }
	var dirs []string
	if c := s.mu.newest; c != nil && c.readers == 0 && expired(c.lastUsed) {
		dirs = append(dirs, s.supersedeLocked(nil))
	}
	for name, st := range s.mu.staged {
		if st.droppable() && expired(st.lastUsed) {
			dirs = append(dirs, s.dropLocked(name))
		}
	}
	if s.mu.newest != nil || len(s.mu.staged) > 0 {
		s.mu.sweeper = time.AfterFunc(max(s.opts.KeepFor/8, time.Second), s.sweep)
	}
	s.mu.Unlock()
	if err := s.removeDirs(dirs...); err != nil {
		s.opts.Logger.Warn("cannot remove snapshots that nobody came back for", zap.Error(err))
	}
}
