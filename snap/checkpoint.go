package snap

import (
	"errors"
	"fmt"
	"io"
	"time"

	"go.etcd.io/raft/v3/raftpb"
	"go.uber.org/zap"
	"google.golang.org/protobuf/proto"
)

// checkpoint is one snapshot of our own state. The fields are fixed once made,
// but readers and lastUsed, which the store's mutex guards.
type checkpoint struct {
	dir       string
	meta      *raftpb.SnapshotMetadata
	manifest  manifest
	encoded   []byte // the manifest, as its digest was taken
	digest    digest
	sizeBytes int64
	readers   int
	lastUsed  time.Time
}

func (c *checkpoint) snapshot() *raftpb.Snapshot {
	d := descriptor{manifest: c.digest, sizeBytes: c.sizeBytes}
	return &raftpb.Snapshot{Data: d.encode(), Metadata: proto.Clone(c.meta).(*raftpb.SnapshotMetadata)}
}

// beginMaking reports whether the caller is to call makeNewest now.
func (s *Store) beginMaking() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.mu.closed || s.mu.isMaking {
		return false
	}
	s.mu.isMaking = true
	s.making.Add(1)
	return true
}

func (s *Store) makeNewest(minIndex uint64) {
	defer s.making.Done()
	s.mu.Lock()
	dir := s.dirLocked("checkpoint")
	if s.mu.renewed { // the names mean other files now
		s.mu.renewed = false
		s.sums.keep(nil)
	}
	s.mu.Unlock()

	c, err := s.checkpoint(dir, minIndex)
	if err != nil {
		err = errors.Join(err, s.opts.FS.RemoveAll(dir))
		s.opts.Logger.Warn("cannot make a snapshot", zap.Uint64("min-index", minIndex), zap.Error(err))
	} else {
		s.opts.Logger.Info("made a snapshot", zap.Uint64("index", c.manifest.index),
			zap.Int("files", len(c.manifest.files)), zap.Int64("bytes", c.sizeBytes))
	}

	s.mu.Lock()
	s.mu.isMaking = false
	old := ""
	if c != nil {
		s.mu.stats.Checkpoints++
		old = s.supersedeLocked(c)
		s.sweepLaterLocked()
	}
	s.mu.Unlock()
	if err := s.removeDirs(old); err != nil {
		s.opts.Logger.Warn("cannot remove an old snapshot", zap.Error(err))
	}
}

// checkpoint copies the state into dir and takes the checksums of the files.
func (s *Store) checkpoint(dir string, minIndex uint64) (*checkpoint, error) {
	meta, err := s.opts.State.Checkpoint(dir)
	if err != nil {
		return nil, fmt.Errorf("checkpoint the state: %w", err)
	}
	if meta.GetIndex() < minIndex {
		return nil, fmt.Errorf("the state is at index %d, a snapshot at %d was asked for", meta.GetIndex(), minIndex)
	}
	files, err := describeFiles(s.opts.FS, dir, s.sums)
	if err != nil {
		return nil, err
	}
	c := &checkpoint{dir: dir, meta: meta, manifest: manifest{index: meta.GetIndex(), term: meta.GetTerm(), files: files}, lastUsed: time.Now()}
	if err := c.manifest.check(); err != nil {
		return nil, fmt.Errorf("checkpoint in %s: %w", dir, err)
	}
	c.encoded = c.manifest.encode()
	c.digest = digestOf(c.encoded)
	c.sizeBytes = archiveBytes(len(c.encoded), c.manifest.files)
	return c, nil
}

// supersedeLocked makes c (nil: nothing) the newest checkpoint. The one before
// goes with its last reader, or its directory is returned to be removed now.
func (s *Store) supersedeLocked(c *checkpoint) (remove string) {
	old := s.mu.newest
	s.mu.newest = c
	switch {
	case old == nil:
		return ""
	case old.readers > 0:
		s.mu.superseded[old] = struct{}{}
		return ""
	}
	return old.dir
}

// Open returns the archive of the checkpoint that snapshot names, and its
// length. The checkpoint stays until the reader is closed, and for
// Options.KeepFor after that unless it is superseded: who lost the connection
// may go on where it was. Receivers that need a snapshot at the same time share
// one.
func (s *Store) Open(snapshot *raftpb.Snapshot) (archive io.ReadSeekCloser, sizeBytes int64, err error) {
	d, err := decodeDescriptor(snapshot.GetData())
	if err != nil {
		return nil, 0, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.findLocked(d.manifest)
	switch {
	case s.mu.closed:
		return nil, 0, ErrClosed
	case c == nil:
		return nil, 0, fmt.Errorf("open snapshot at index %d: %w", snapshot.GetMetadata().GetIndex(), ErrGone)
	}
	c.readers++
	release := func(damaged bool) error {
		if damaged {
			s.discard(c)
		}
		return s.release(c)
	}
	return newArchiveReader(s.opts.FS, c, release), c.sizeBytes, nil
}

// Discard gives up the checkpoint that snapshot names, because a receiver found
// that its files are not what it promised. The next Latest makes another one.
func (s *Store) Discard(snapshot *raftpb.Snapshot) {
	d, err := decodeDescriptor(snapshot.GetData())
	if err != nil {
		return // not one of ours
	}
	s.mu.Lock()
	c := s.findLocked(d.manifest)
	s.mu.Unlock()
	if c != nil {
		s.discard(c)
	}
}

func (s *Store) discard(c *checkpoint) {
	s.mu.Lock()
	old := ""
	if s.mu.newest == c {
		old = s.supersedeLocked(nil)
	}
	s.mu.Unlock()
	if err := s.removeDirs(old); err != nil {
		s.opts.Logger.Warn("cannot remove a damaged snapshot", zap.Error(err))
	}
}

func (s *Store) findLocked(manifest digest) *checkpoint {
	if c := s.mu.newest; c != nil && c.digest == manifest {
		return c
	}
	for c := range s.mu.superseded {
		if c.digest == manifest {
			return c
		}
	}
	return nil
}

func (s *Store) release(c *checkpoint) error {
	s.mu.Lock()
	c.readers--
	c.lastUsed = time.Now()
	_, old := s.mu.superseded[c]
	unused := old && c.readers == 0
	if unused {
		delete(s.mu.superseded, c)
	}
	s.sweepLaterLocked()
	s.mu.Unlock()
	if !unused {
		return nil
	}
	return s.removeDirs(c.dir)
}

// Needed returns the index of the oldest checkpoint that a receiver reads or
// may come back for; 0: none. It needs the log from there on.
func (s *Store) Needed() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	index := uint64(0)
	if s.mu.newest != nil {
		index = s.mu.newest.manifest.index
	}
	for c := range s.mu.superseded {
		if index == 0 || c.manifest.index < index {
			index = c.manifest.index
		}
	}
	return index
}

// removeDirs is called without the mutex: files of gigabytes take their time.
func (s *Store) removeDirs(dirs ...string) error {
	var errs []error
	for _, dir := range dirs {
		if dir == "" {
			continue
		}
		if err := s.opts.FS.RemoveAll(dir); err != nil {
			errs = append(errs, fmt.Errorf("remove snapshot directory %s: %w", dir, err))
		}
	}
	return errors.Join(errs...)
}
