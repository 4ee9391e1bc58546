package main

import (
	"sync"

	"go.uber.org/zap"

	"raftkv/cmd/raft-kv/internal/processors"
)

// governing lets the processors of this process be governed as soon as the last
// of its members has been started, and only if each of them bears to have one
// processor at times.
type governing struct {
	govern func(*zap.Logger) (stop func())
	logger *zap.Logger

	mu struct {
		sync.Mutex
		missing int // members that have not been started
		refused bool
		ended   bool
		stop    func() // nil until it began
	}
}

func newGoverning(members int, logger *zap.Logger) *governing {
	g := &governing{govern: processors.Govern, logger: logger}
	g.mu.missing = members
	return g
}

// started says that one more member has been, and whether it bears to have one
// processor: its log must be synced without holding a processor, or an
// fsync would keep everything else from running.
func (g *governing) started(bears bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.mu.missing--
	g.mu.refused = g.mu.refused || !bears
	switch {
	case g.mu.missing > 0 || g.mu.ended:
	case g.mu.refused:
		g.logger.Debug("the number of processors is left as it is", zap.String("reason", "the log is synced by calls that hold one"))
	default:
		g.mu.stop = g.govern(g.logger)
	}
}

// end brings all processors back, for good.
func (g *governing) end() {
	g.mu.Lock()
	stop := g.mu.stop
	g.mu.ended, g.mu.stop = true, nil
	g.mu.Unlock()
	if stop != nil {
		stop()
	}
}
