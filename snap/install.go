package snap

import (
	"context"
	"fmt"
	"time"

	"go.etcd.io/raft/v3/raftpb"
)

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
	defer s.endInstall()
	if err := s.opts.State.Replace(dir); err != nil {
		return fmt.Errorf("install snapshot at index %d: %w", meta.GetIndex(), err)
	}
	if index, term := s.opts.State.Applied(); index != meta.GetIndex() || term != meta.GetTerm() {
		return fmt.Errorf("install snapshot: %w: the state is at index %d term %d, announced as %d term %d",
			ErrCorrupt, index, term, meta.GetIndex(), meta.GetTerm())
	}
	s.mu.Lock()
	delete(s.mu.staged, d.manifest)
	s.mu.renewed = true
	s.mu.stats.Installed++
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
	s.mu.stats.Installing = true
	s.mu.installed = make(chan struct{})
	return st.dir, nil
}

func (s *Store) endInstall() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mu.stats.Installing = false
	close(s.mu.installed)
}

// awaitInstall waits for an installation that is under way: until it is over, the
// files that came last are neither staged nor part of the live state.
func (s *Store) awaitInstall(ctx context.Context) error {
	s.mu.Lock()
	installing, installed := s.mu.stats.Installing, s.mu.installed
	s.mu.Unlock()
	if !installing {
		return nil
	}
	select {
	case <-installed:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// Refused says that raft will not install snapshot, which was delivered to it
// once. It does not wait for the disk. The files stay a while: the same or a
// similar snapshot may be offered again.
func (s *Store) Refused(snapshot *raftpb.Snapshot) {
	d, err := decodeDescriptor(snapshot.GetData())
	if err != nil {
		return // never staged
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if st := s.mu.staged[d.manifest]; st != nil && st.pins > 0 {
		st.pins--
		st.lastUsed = time.Now()
		s.sweepLaterLocked()
	}
}
