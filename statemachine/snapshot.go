package statemachine

import (
	"fmt"

	"github.com/cockroachdb/pebble/v2"
	"go.etcd.io/raft/v3/raftpb"

	"raftkv/statemachine/engine"
	"raftkv/statemachine/mvcc"
)

// Checkpoint writes a copy of the state, made of hard links, to dir, which
// must not exist and must be on the same file system. It may run beside Apply:
// the metadata is that of the copy.
func (m *Machine) Checkpoint(dir string) (*raftpb.SnapshotMetadata, error) {
	var copied meta
	err := m.store.Checkpoint(dir, func(db *pebble.DB) (err error) {
		copied, err = readMeta(db, false)
		if err == nil && !copied.initialized {
			err = ErrNotInitialized
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("checkpoint of the state: %w", err)
	}
	return copied.snapshotMetadata(), nil
}

// Replace makes the checkpoint in stagedDir, whose files are durable, the
// state; durable on return, and stagedDir is gone. Reads that began before
// finish on the old state. A checkpoint of another cluster is refused, and so
// is one that would take the state back.
func (m *Machine) Replace(stagedDir string) error {
	old := m.view.Load()
	var next *view
	var r remembered
	verify := func(h *engine.Handle) (err error) {
		next, r, err = load(h)
		if err != nil {
			return err
		}
		next.hot = mvcc.NewHot(m.opts.HotBytes) // here, since readers wait for adopt
		switch {
		case !next.initialized:
			return fmt.Errorf("%w: it is empty", ErrForeignState)
		case old.initialized && next.clusterID != old.clusterID:
			return fmt.Errorf("%w: it is of cluster %x, this member is of cluster %x", ErrForeignState, next.clusterID, old.clusterID)
		case next.index < old.index:
			return fmt.Errorf("%w: it is at index %d, this member is at %d already", ErrForeignState, next.index, old.index)
		}
		return nil
	}
	if err := m.store.Replace(stagedDir, verify, func() { m.adopt(next, r) }); err != nil {
		return fmt.Errorf("replacing the state: %w", err)
	}
	m.advance(old.revision, next.revision, nil)
	m.opts.OnCompaction()
	m.opts.OnLeaseReads()
	return nil
}

// ImmutableFile tells whether a file of a checkpoint, which has the name that it
// has in the live database, never changes under that name.
func ImmutableFile(name string) bool { return engine.ImmutableFile(name) }

// LinkLive makes a hard link at path `to` to the live database's file of that
// name, which must be an immutable one.
func (m *Machine) LinkLive(name, to string) error { return m.store.LinkLive(name, to) }
