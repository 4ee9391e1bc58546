package engine

import (
	"fmt"

	"go.uber.org/zap"
)

// pebbleLogger passes Pebble's messages on, and turns its fatal ones into the
// end of the store.
type pebbleLogger struct {
	store *Store
	log   *zap.Logger
}

func (l pebbleLogger) Infof(format string, args ...any) {
	if l.log.Core().Enabled(zap.DebugLevel) {
		l.log.Debug(fmt.Sprintf(format, args...))
	}
}

func (l pebbleLogger) Errorf(format string, args ...any) {
	l.log.Error(fmt.Sprintf(format, args...))
}

// Fatalf never returns: Pebble's state is not to be trusted any more, and the
// goroutine may hold its locks.
func (l pebbleLogger) Fatalf(format string, args ...any) {
	l.store.stuck.Store(true)
	l.store.fail(fmt.Errorf("state database: "+format, args...))
	select {}
}

// backgroundError is called when a flush or a compaction failed, possibly with
// Pebble's locks held. A database that is being closed or that was replaced
// holds nothing any more that could be lost.
func (s *Store) backgroundError(h *Handle, err error) {
	if h.retired.Load() {
		s.opts.Logger.Warn("background error of a closed state database", zap.String("dir", h.dir), zap.Error(err))
		return
	}
	s.fail(fmt.Errorf("state database %s: background error: %w", h.dir, err))
}

// fail records the first error, tells the owner and releases who waits for
// Pebble.
func (s *Store) fail(err error) {
	s.failOnce.Do(func() {
		s.fatal.Store(&err)
		close(s.failed)
		s.opts.OnFatal(err)
	})
}

// Err returns the error that stopped the store, or nil.
func (s *Store) Err() error {
	if p := s.fatal.Load(); p != nil {
		return *p
	}
	return nil
}
