package main

import (
	"slices"
	"sync"

	"go.uber.org/zap"

	"raftkv/cmd/raft-kv/internal/processors"
)

// governing lets the processors of this process be governed as soon as the last
// of its members has been started, and for as long as each of them bears to have
// one processor at times.
type governing struct {
	govern func(logger *zap.Logger, blocks func() bool) (stop func())
	logger *zap.Logger

	mu struct {
		sync.Mutex
		missing int           // members that have not been started
		block   []func() bool // of those that have been
		ended   bool
		stop    func() // nil until it began
	}
}

func newGoverning(members int, logger *zap.Logger) *governing {
	g := &governing{govern: processors.Govern, logger: logger}
	g.mu.missing = members
	return g
}

// started says that one more member has been. blocks says from now on whether a
// sync of its log holds a processor, which would keep everything else from
// running if it was the only one.
func (g *governing) started(blocks func() bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.mu.missing--
	g.mu.block = append(g.mu.block, blocks)
	if g.mu.missing > 0 || g.mu.ended {
		return
	}
	all := g.mu.block
	g.mu.stop = g.govern(g.logger, func() bool {
		return slices.ContainsFunc(all, func(blocks func() bool) bool { return blocks() })
	})
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
