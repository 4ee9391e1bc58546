package snap

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"go.etcd.io/raft/v3/raftpb"
	"go.uber.org/zap"
)

// staging is a snapshot that was, or is being, received. What an attempt that
// broke off has verified stays for the next one. The store's mutex guards the
// first group; the rest belongs to the transfer while active, else the mutex
// guards it too.
type staging struct {
	dir        string
	index      uint64
	active     bool // a transfer is under way
	complete   bool // received, verified and durable
	installing bool
	pins       int // deliveries to raft that it has neither installed nor refused
	lastUsed   time.Time

	broken  bool // the disk refused a write: nothing here can be trusted
	tree    *treeWriter
	known   bool // the manifest
	encoded int  // its length
	m       manifest
	done    []bool // files that are whole, verified and fsynced
	partial *partialFile
}

// droppable means that raft cannot ask for it, whoever else might.
func (st *staging) droppable() bool { return !st.active && !st.installing && st.pins == 0 }

// Fetch asks the sender for ranges (offset, length) of the archive and returns
// their bytes, one range behind the other. remainingBytes is all that is still
// missing, these ranges included; 0 while that is not known. The reader of an
// earlier call is not used any more.
type Fetch = func(ranges [][2]int64, remainingBytes int64) (io.Reader, error)

// Stage receives snapshot by fetch, verifies it against the descriptor, and
// makes it durable, to be installed later. What is here already, from an
// earlier attempt, another snapshot or the live state, is not fetched. After
// success the caller delivers the snapshot to raft, and the store keeps it until
// Install or Refused. After an error what has been verified stays for the next
// attempt, unless the disk is at fault.
func (s *Store) Stage(ctx context.Context, snapshot *raftpb.Snapshot, fetch Fetch) error {
	d, err := decodeDescriptor(snapshot.GetData())
	if err != nil {
		return err
	}
	meta := snapshot.GetMetadata()
	st, err := s.beginStaging(d, meta.GetIndex())
	if err != nil {
		return fmt.Errorf("stage snapshot at index %d: %w", meta.GetIndex(), err)
	}
	if st == nil {
		return nil
	}
	err = s.receive(ctx, st, d, meta, fetch)
	if err = s.endStaging(st, d, err); err != nil {
		return fmt.Errorf("stage snapshot at index %d: %w", meta.GetIndex(), err)
	}
	return nil
}

// beginStaging reserves a place, or takes up the one that an earlier attempt
// left; nil if this snapshot is staged already.
func (s *Store) beginStaging(d descriptor, index uint64) (*staging, error) {
	applied, _ := s.opts.State.Applied()
	s.mu.Lock()
	if s.mu.closed {
		s.mu.Unlock()
		return nil, ErrClosed
	}
	if st := s.mu.staged[d.manifest]; st != nil {
		defer s.mu.Unlock()
		switch {
		case st.active || st.installing:
			return nil, ErrBusy
		case st.complete:
			st.pins++
			return nil, nil
		}
		st.active = true
		return st, nil
	}
	dropped := s.dropObsoleteLocked(applied)
	if len(s.mu.staged) >= stagedMax {
		s.mu.Unlock()
		return nil, errors.Join(ErrBusy, s.removeDirs(dropped...))
	}
	dir := s.dirLocked("staging")
	st := &staging{dir: dir, index: index, active: true, tree: newTreeWriter(s.opts.FS, dir)}
	s.mu.staged[d.manifest] = st
	s.mu.Unlock()
	if err := s.removeDirs(dropped...); err != nil {
		s.opts.Logger.Warn("cannot remove a staged snapshot", zap.Error(err))
	}
	return st, nil
}

// endStaging records how an attempt ended and passes its error on. An attempt
// that has nothing to show, or trouble with the disk, leaves nothing behind.
func (s *Store) endStaging(st *staging, d descriptor, err error) error {
	s.mu.Lock()
	st.active, st.complete, st.lastUsed = false, err == nil, time.Now()
	if err == nil {
		st.pins++
		s.mu.stats.Staged++
	}
	dir := ""
	if err != nil && (st.broken || s.mu.closed || st.haveBytes() == 0) {
		dir = s.dropLocked(d.manifest)
	}
	s.sweepLaterLocked()
	s.mu.Unlock()
	return errors.Join(err, s.removeDirs(dir))
}

// dropLocked forgets a staging and returns its directory, to be removed.
func (s *Store) dropLocked(name digest) (dir string) {
	st := s.mu.staged[name]
	delete(s.mu.staged, name)
	if p := st.partial; p != nil {
		st.partial = nil
		if err := p.out.Close(); err != nil {
			s.opts.Logger.Warn("cannot close a staging file that is given up", zap.Error(err))
		}
	}
	return st.dir
}

// dropObsoleteLocked forgets the stagings that raft has passed and, when there is
// no place left, the one that nobody used for the longest time. Neither touches
// one that raft may still install (invariant 5 of the package). It returns their
// directories.
func (s *Store) dropObsoleteLocked(applied uint64) (dirs []string) {
	var oldest *digest
	for name, st := range s.mu.staged {
		switch {
		case !st.droppable():
		case st.index <= applied:
			dirs = append(dirs, s.dropLocked(name))
		case oldest == nil || older(st, s.mu.staged[*oldest]):
			oldest = &name
		}
	}
	if oldest != nil && len(s.mu.staged) >= stagedMax {
		dirs = append(dirs, s.dropLocked(*oldest))
	}
	return dirs
}

// older orders stagings: by index, so that simulations do not depend on a clock.
func older(a, b *staging) bool {
	if a.index != b.index {
		return a.index < b.index
	}
	return a.dir < b.dir
}

// checkRoom makes sure that what is still missing fits on the disk.
func (s *Store) checkRoom(missingBytes int64) error {
	usage, err := s.opts.FS.GetDiskUsage(s.opts.Dir)
	if errors.Is(err, vfs.ErrUnsupported) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("look for room on the disk: %w", err)
	}
	if usage.AvailBytes < uint64(missingBytes) {
		return fmt.Errorf("%w: %d bytes are to come, %d are free", ErrNoRoom, missingBytes, usage.AvailBytes)
	}
	return nil
}
