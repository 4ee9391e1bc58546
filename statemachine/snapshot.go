package statemachine

import (
	"fmt"

	"github.com/cespare/xxhash/v2"
	"github.com/cockroachdb/pebble/v2"
	"go.etcd.io/raft/v3/raftpb"

	"raftkv/statemachine/engine"
	"raftkv/statemachine/keys"
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
	var proposers map[uint64]*proposer
	verify := func(h *engine.Handle) (err error) {
		next, proposers, err = load(h)
		switch {
		case err != nil:
			return err
		case !next.initialized:
			return fmt.Errorf("%w: it is empty", ErrForeignState)
		case old.initialized && next.clusterID != old.clusterID:
			return fmt.Errorf("%w: it is of cluster %x, this member is of cluster %x", ErrForeignState, next.clusterID, old.clusterID)
		case next.index < old.index:
			return fmt.Errorf("%w: it is at index %d, this member is at %d already", ErrForeignState, next.index, old.index)
		}
		return nil
	}
	if err := m.store.Replace(stagedDir, verify, func() { m.adopt(next, proposers) }); err != nil {
		return fmt.Errorf("replacing the state: %w", err)
	}
	return nil
}

// StateHash returns a hash of everything the state holds. It reads all of it:
// for tests and for checks, not for use under load.
func (m *Machine) StateHash() (uint64, error) {
	h, err := m.store.Acquire()
	if err != nil {
		return 0, err
	}
	defer h.Release()
	snapshot := h.DB().NewSnapshot()
	digest := xxhash.New()
	for _, table := range keys.All() {
		err = scanTable(snapshot, table, false, func(key, value []byte) error {
			var lengths effects
			lengths.numbers(uint64(len(key)), uint64(len(value)))
			for _, part := range [][]byte{lengths.header, key, value} {
				if _, err := digest.Write(part); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			break
		}
	}
	if closeErr := snapshot.Close(); err == nil {
		err = closeErr
	}
	return digest.Sum64(), err
}
