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
	// checkInterval is how often disk and alarm are looked at. A disk writes so
	// much less than the reserve in that time that the alarm comes first.
	checkInterval = 200 * time.Millisecond

	// The reserve is this part of the disk, but not more than so much, and not
	// less than what must go on needs.
	reservePart     = 20
	reserveBytesMax = 256 << 20
	// reserveClearance is what must be free beyond the reserve for the disk to
	// count as usable again, in parts of the reserve.
	reserveClearance = 4
	// rewriteInterval is the shortest time between two attempts to make a full
	// disk give space back.
	rewriteInterval = 30 * time.Second
	// roomTime is how long there must be room for the alarm to end by itself. An
	// operator, or a script written for etcd, who makes room and then ends the
	// alarm by hand still finds it.
	roomTime = 5 * time.Second
	// clearancePart of the quota must be free for the alarm to end.
	clearancePart = 20
)

// Member is what a Guard watches.
type Member interface {
	// LiveBytes is the size of the live data.
	LiveBytes() int64
	// Disk returns free and total bytes of the disk that has the least room, of
	// those that log and state are on; 0 total if that is unknown.
	Disk() (free, total uint64, err error)
	// Reclaimable is what the files of the state hold beyond the live data,
	// roughly; Rewrite gives it back to the disk.
	Reclaimable() int64
	Rewrite(ctx context.Context) error
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
	need   uint64
	member Member
	logger *zap.Logger

	diskFull atomic.Bool
	// refused is the largest growth refused since there was room.
	refused atomic.Int64

	mu struct {
		sync.Mutex
		raising chan struct{} // closed when the proposal under way is over; nil: none
	}

	// What follows belongs to Run.

	diskFaulty bool // it has been logged
	rewritten  time.Time
	roomSince  time.Time // there has been room for the alarm to end since then; zero: there is none
}

// New returns a Guard; Run runs it. A quota of 0 means DefaultBytes, a negative
// one none. needBytes is the least that the disk must have free for what has to
// go on when nothing is admitted any more: the log, flushes, compactions.
func New(quotaBytes int64, needBytes uint64, member Member, logger *zap.Logger) *Guard {
	if quotaBytes == 0 {
		quotaBytes = DefaultBytes
	}
	return &Guard{quota: max(0, quotaBytes), need: needBytes, member: member, logger: logger}
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
	case g.diskFull.Load():
		g.rewrite(ctx)
	case g.member.OwnNoSpace() && g.fits(max(g.refused.Load(), g.quota/clearancePart)):
		g.endAlarm(ctx)
		return
	}
	g.roomSince = time.Time{}
}

// endAlarm takes the alarm back if there has been room for long enough.
func (g *Guard) endAlarm(ctx context.Context) {
	if g.roomSince.IsZero() {
		g.roomSince = time.Now()
	}
	if time.Since(g.roomSince) < roomTime {
		return
	}
	g.set(ctx, false)
	if !g.member.OwnNoSpace() {
		g.refused.Store(0)
	}
}

// rewrite makes the disk give back what was deleted and compacted. That comes
// back by itself too, but only with the writes that a full disk refuses.
func (g *Guard) rewrite(ctx context.Context) {
	reclaimable := g.member.Reclaimable()
	// What cannot end the shortage is not worth the wear.
	if reclaimable < int64(g.need/reserveClearance) || time.Since(g.rewritten) < rewriteInterval {
		return
	}
	g.rewritten = time.Now()
	g.logger.Info("rewriting the state, because the disk is full", zap.Int64("reclaimable-bytes", reclaimable))
	if err := g.member.Rewrite(ctx); err != nil && ctx.Err() == nil {
		g.logger.Warn("rewriting the state failed", zap.Error(err))
	}
}

// lookAtDisk compares the free space with the reserve: it is low below it, and
// back only with some more.
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
	reserve := g.reserve(total)
	full, low := g.diskFull.Load(), reserve
	if full {
		low += reserve / reserveClearance
	}
	if now := free < low; now != full {
		g.diskFull.Store(now)
		g.logger.Warn("the disk has changed between enough and too little free space", zap.Bool("disk-full", now),
			zap.Uint64("free-bytes", free), zap.Uint64("reserve-bytes", reserve), zap.Uint64("disk-bytes", total))
	}
}

func (g *Guard) reserve(diskBytes uint64) uint64 {
	return max(g.need, min(reserveBytesMax, diskBytes/reservePart))
}
