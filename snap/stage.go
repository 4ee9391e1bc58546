package snap

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/cockroachdb/pebble/v2/vfs"
	"go.etcd.io/raft/v3/raftpb"
	"go.uber.org/zap"
)

// staging is a snapshot that was, or is being, received. The store's mutex
// guards the states.
type staging struct {
	dir        string
	index      uint64
	complete   bool // received, verified and durable
	installing bool
}

// Stage reads the archive of snapshot, verifies it against the descriptor, and
// makes it durable, to be installed later. If this very snapshot is staged
// already, nothing is read. After an error nothing is left behind.
func (s *Store) Stage(ctx context.Context, snapshot *raftpb.Snapshot, archive io.Reader) error {
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
	if err = s.checkRoom(d); err == nil {
		err = s.receive(ctx, st.dir, d, meta, archive)
	}
	if err != nil {
		err = fmt.Errorf("stage snapshot at index %d: %w", meta.GetIndex(), errors.Join(err, s.removeDirs(st.dir)))
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if st.complete = err == nil; !st.complete {
		delete(s.mu.staged, d.manifest)
	}
	return err
}

// beginStaging reserves a place; nil if this snapshot is staged already.
func (s *Store) beginStaging(d descriptor, index uint64) (*staging, error) {
	applied, _ := s.opts.State.Applied()
	s.mu.Lock()
	if st := s.mu.staged[d.manifest]; s.mu.closed || st != nil {
		defer s.mu.Unlock()
		switch {
		case s.mu.closed:
			return nil, ErrClosed
		case st.complete && !st.installing:
			return nil, nil
		}
		return nil, ErrBusy
	}
	dropped := s.dropObsoleteLocked(applied)
	if len(s.mu.staged) >= stagedMax {
		s.mu.Unlock()
		return nil, errors.Join(ErrBusy, s.removeDirs(dropped...))
	}
	st := &staging{dir: s.dirLocked("staging"), index: index}
	s.mu.staged[d.manifest] = st
	s.mu.Unlock()
	if err := s.removeDirs(dropped...); err != nil {
		s.opts.Logger.Warn("cannot remove a staged snapshot", zap.Error(err))
	}
	return st, nil
}

// dropObsoleteLocked forgets the stagings that raft ignored (invariant 5 of the
// package) and, when there is no place left, the oldest one. It returns their
// directories.
func (s *Store) dropObsoleteLocked(applied uint64) (dirs []string) {
	drop := func(name digest) {
		dirs = append(dirs, s.mu.staged[name].dir)
		delete(s.mu.staged, name)
	}
	var oldest *digest
	for name, st := range s.mu.staged {
		switch {
		case !st.complete || st.installing:
		case st.index <= applied:
			drop(name)
		case oldest == nil || st.index < s.mu.staged[*oldest].index:
			oldest = &name
		}
	}
	if oldest != nil && len(s.mu.staged) >= stagedMax {
		drop(*oldest)
	}
	return dirs
}

func (s *Store) checkRoom(d descriptor) error {
	usage, err := s.opts.FS.GetDiskUsage(s.opts.Dir)
	if errors.Is(err, vfs.ErrUnsupported) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("look for room on the disk: %w", err)
	}
	if usage.AvailBytes < uint64(d.sizeBytes) {
		return fmt.Errorf("%w: it has %d bytes, %d are free", ErrNoRoom, d.sizeBytes, usage.AvailBytes)
	}
	return nil
}

// receive writes the archive into dir and makes it durable.
func (s *Store) receive(ctx context.Context, dir string, d descriptor, meta *raftpb.SnapshotMetadata, archive io.Reader) error {
	m, manifestBytes, err := readManifest(archive, d)
	if err != nil {
		return err
	}
	switch {
	case m.index != meta.GetIndex() || m.term != meta.GetTerm():
		return fmt.Errorf("%w: made at index %d term %d, announced as %d term %d", ErrCorrupt, m.index, m.term, meta.GetIndex(), meta.GetTerm())
	case archiveBytes(manifestBytes, m.files) != d.sizeBytes:
		return fmt.Errorf("%w: the files do not add up to the size announced", ErrCorrupt)
	}
	w := newTreeWriter(s.opts.FS, dir)
	if err := w.mkdir(""); err != nil {
		return err
	}
	buf := make([]byte, copyBytes)
	for _, f := range m.files {
		if err := context.Cause(ctx); err != nil {
			return err
		}
		if err := w.write(f, archive, buf); err != nil {
			return err
		}
	}
	if err := expectEnd(archive); err != nil {
		return err
	}
	if err := w.sync(); err != nil {
		return err
	}
	return syncDir(s.opts.FS, s.opts.Dir)
}

func readManifest(archive io.Reader, d descriptor) (manifest, int, error) {
	prefix := make([]byte, archivePrefixBytes)
	if _, err := io.ReadFull(archive, prefix); err != nil {
		return manifest{}, 0, fmt.Errorf("read archive: %w", err)
	}
	magic, length := string(prefix[:len(archiveMagic)]), binary.BigEndian.Uint32(prefix[len(archiveMagic):])
	if magic != archiveMagic {
		return manifest{}, 0, fmt.Errorf("%w: not an archive of a format this binary knows (%q)", ErrCorrupt, magic)
	}
	if length > manifestBytesMax || int64(length) > d.sizeBytes {
		return manifest{}, 0, fmt.Errorf("%w: a manifest of %d bytes", ErrCorrupt, length)
	}
	encoded := make([]byte, length)
	if _, err := io.ReadFull(archive, encoded); err != nil {
		return manifest{}, 0, fmt.Errorf("read manifest: %w", err)
	}
	if digestOf(encoded) != d.manifest {
		return manifest{}, 0, fmt.Errorf("%w: the manifest is not the one announced", ErrCorrupt)
	}
	m, err := decodeManifest(encoded)
	return m, len(encoded), err
}

func expectEnd(archive io.Reader) error {
	var one [1]byte
	switch n, err := io.ReadFull(archive, one[:]); {
	case n > 0:
		return fmt.Errorf("%w: data after the last file", ErrCorrupt)
	case err != io.EOF:
		return fmt.Errorf("read end of archive: %w", err)
	}
	return nil
}

// Install replaces the state by a snapshot staged before. Durable on return.
func (s *Store) Install(snapshot *raftpb.Snapshot) error {
	d, err := decodeDescriptor(snapshot.GetData())
	if err != nil {
		return err
	}
	meta := snapshot.GetMetadata()
	dir, err := s.beginInstall(d)
	if err != nil {
		return fmt.Errorf("install snapshot at index %d: %w", meta.GetIndex(), err)
	}
	if err := s.opts.State.Replace(dir); err != nil {
		return fmt.Errorf("install snapshot at index %d: %w", meta.GetIndex(), err)
	}
	if index, term := s.opts.State.Applied(); index != meta.GetIndex() || term != meta.GetTerm() {
		return fmt.Errorf("install snapshot: %w: the state is at index %d term %d, announced as %d term %d",
			ErrCorrupt, index, term, meta.GetIndex(), meta.GetTerm())
	}
	s.mu.Lock()
	delete(s.mu.staged, d.manifest)
	s.mu.Unlock()
	return s.removeDirs(dir)
}

func (s *Store) beginInstall(d descriptor) (dir string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := s.mu.staged[d.manifest]
	if st == nil || !st.complete {
		return "", ErrGone
	}
	st.installing = true
	return st.dir, nil
}
