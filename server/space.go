package server

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"go.uber.org/zap"

	"raftkv/statemachine"
	"raftkv/wal"
)

// logBytes is what the log may still take of commands that were admitted before, and
// of its next file, which is allocated ahead.
const logBytes = 4 * wal.SegmentBytes

// compactionBytes is what a compaction of the state writes, at most, before its
// inputs go.
const compactionBytes = 64 << 20

// reserveBytes is what the disk must have free for a member that admits nothing
// any more, so that deletions and compactions go on: what is in memory has to be
// flushed, the log goes on in further files, and the state is compacted. Without that much a full disk would stop the process.
func (s *Server) reserveBytes() uint64 {
	memTables := statemachine.MemTablesMax * planMemory(s.cfg.MemoryBudgetBytes).memTableBytes
	return memTables + logBytes + compactionBytes
}

// Disk is that of log or state, whichever has less room; unknown in memory mode.
func (m upkeepMember) Disk() (free, total uint64, err error) {
	if m.s.rooms.dir == nil {
		return 0, 0, nil
	}
	for _, dir := range []string{m.s.rooms.dir.State(), m.s.rooms.dir.WAL()} {
		usage, err := vfs.Default.GetDiskUsage(dir)
		if err != nil {
			return 0, 0, fmt.Errorf("free space of %s: %w", dir, err)
		}
		if total == 0 || usage.AvailBytes < free {
			free, total = usage.AvailBytes, usage.TotalBytes
		}
	}
	return free, total, nil
}

// Reclaimable compares the files with the live data, which is not compressed,
// and so is more than the files need.
func (m upkeepMember) Reclaimable() int64 {
	return max(0, m.s.sizeBytes()-m.s.rooms.machine.LiveBytes())
}

// errRewriting is answered to who asks for a second rewrite beside the first.
var errRewriting = errors.New("the state is being rewritten already")

// rewrite writes the files of the state anew, unless somebody else does. It ends
// early with ctx, and when the member stops.
func (s *Server) rewrite(ctx context.Context) error {
	if !s.rewriting.TryLock() {
		return errRewriting
	}
	defer s.rewriting.Unlock()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(s.ctx, func() { cancel(errStopping) })()
	began := time.Now()
	before, after, err := s.rooms.machine.Rewrite(ctx)
	if err != nil {
		if errors.Is(context.Cause(ctx), errStopping) {
			return errStopping
		}
		return err
	}
	s.cfg.Logger.Info("rewrote the state", zap.Int64("before-bytes", before), zap.Int64("after-bytes", after), zap.Duration("took", time.Since(began)))
	return nil
}

func (m upkeepMember) Rewrite(ctx context.Context) error { return m.s.rewrite(ctx) }

func (b backend) Rewrite(ctx context.Context) error { return b.s.rewrite(ctx) }
