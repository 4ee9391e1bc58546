package quota

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"raftkv/statemachine"
)

const (
	// DefaultBytes is the quota if none is given: etcd's.
	DefaultBytes = 2 << 30
	// checkInterval is how often disk and alarm are looked at.
	checkInterval = time.Second

	// The reserve is this much, or this part of a small disk.
	reserveBytesMax = 256 << 20
	reservePart     = 20
	// clearancePart of the quota must be free for the alarm to end.
	clearancePart = 20
)

// Member is what a Guard watches.
type Member interface {
	// LiveBytes is the size of the live data.
	LiveBytes() int64
	// Disk returns free and total bytes of the disk that the state is on; 0
	// total if that is unknown.
	Disk() (free, total uint64, err error)
	// NoSpace tells whether any member has the alarm, OwnNoSpace whether this
	// one has activated it.
	NoSpace() bool
	OwnNoSpace() bool
	// SetNoSpace replicates that this member activates its alarm, or takes it
	// back.
	SetNoSpace(ctx context.Context, active bool) error
}

// Guard stands before the writes of one member.
type Guard struct {
	quota  int64 // 0: none
	member Member
	logger *zap.Logger

	diskFull atomic.Bool
	// refused is the largest growth refused since there was room.
	refused atomic.Int64

	mu struct {
		sync.Mutex
		raising chan struct{} // closed when the proposal under way is over; nil: none
	}
	diskFaulty bool // belongs to Run: it has been logged
}

// New returns a Guard; Run runs it. A quota of 0 means DefaultBytes, a negative
// one none.
func New(quotaBytes int64, member Member, logger *zap.Logger) *Guard {
	if quotaBytes == 0 {
		quotaBytes = DefaultBytes
	}
	return &Guard{quota: max(0, quotaBytes), member: member, logger: logger}
}

// Bytes is the quota, 0 for none.
func (g *Guard) Bytes() int64 { return g.quota }

// Admit returns statemachine.ErrNoSpace for a write that there is no room for.
func (g *Guard) Admit(ctx context.Context, growth int64) error {
	if g.member.NoSpace() {
		return statemachine.ErrNoSpace
	}
	if g.fits(growth) {
		return nil
	}
	for old := g.refused.Load(); old < growth && !g.refused.CompareAndSwap(old, growth); old = g.refused.Load() {
	}
	g.raise(ctx)
	return statemachine.ErrNoSpace
}

func (g *Guard) fits(growth int64) bool {
	return !g.diskFull.Load() && (g.quota == 0 || g.member.LiveBytes()+growth < g.quota)
}

// raise activates the alarm, or waits for who is about to.
func (g *Guard) raise(ctx context.Context) {
	g.mu.Lock()
	if raising := g.mu.raising; raising != nil {
		g.mu.Unlock()
		select {
		case <-raising:
		case <-ctx.Done():
		}
		return
	}
	over := make(chan struct{})
	g.mu.raising = over
	g.mu.Unlock()
	g.set(ctx, true)
	g.mu.Lock()
	g.mu.raising = nil
	g.mu.Unlock()
	close(over)
}

func (g *Guard) set(ctx context.Context, active bool) {
	log := g.logger.With(zap.Bool("active", active), zap.Int64("live-bytes", g.member.LiveBytes()),
		zap.Int64("quota-bytes", g.quota), zap.Bool("disk-full", g.diskFull.Load()))
	if err := g.member.SetNoSpace(ctx, active); err != nil {
		log.Warn("changing the NOSPACE alarm failed", zap.Error(err))
		return
	}
	log.Warn("NOSPACE alarm changed")
}

// Run watches disk and alarm until ctx ends.
func (g *Guard) Run(ctx context.Context) {
	ticker := time.NewTicker(checkInterval)
	defer ticker.Stop()
	for {
		g.check(ctx)
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
	}
}

func (g *Guard) check(ctx context.Context) {
	g.lookAtDisk()
	switch {
	case g.diskFull.Load() && !g.member.NoSpace():
		g.raise(ctx)
	case g.member.OwnNoSpace() && g.fits(max(g.refused.Load(), g.quota/clearancePart)):
		g.set(ctx, false)
		if !g.member.OwnNoSpace() {
			g.refused.Store(0)
		}
	}
}

// lookAtDisk compares the free space with the reserve: it is low below it, and
// back at twice as much.
func (g *Guard) lookAtDisk() {
	free, total, err := g.member.Disk()
	if err != nil || total == 0 {
		if err != nil && !errors.Is(err, errors.ErrUnsupported) && !g.diskFaulty {
			g.diskFaulty = true
			g.logger.Warn("the free space of the disk is unknown; only the quota is watched", zap.Error(err))
		}
		g.diskFull.Store(false)
		return
	}
	reserve := min(reserveBytesMax, total/reservePart)
	if g.diskFull.Load() {
		reserve *= 2
	}
	g.diskFull.Store(free < reserve)
}
