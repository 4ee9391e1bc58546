package statemachine

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/cespare/xxhash/v2"
	"github.com/cockroachdb/pebble/v2"

	"raftkv/statemachine/keys"
	"raftkv/statemachine/mvcc"
)

// KVHash is a hash of the key space as etcd computes it.
type KVHash struct {
	Hash uint32
	// CompactRevision and HashRevision tell what the hash covers, see
	// mvcc.Hasher.
	CompactRevision, HashRevision int64
	// Revision is the newest revision when the hash was asked for.
	Revision int64
}

// hashChunk is how many records are hashed between two looks at the context.
const hashChunk = 1000

// keep remembers the hash of a compaction.
func (c *compactions) keep(h KVHash) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.hashes = append(c.hashes, h)
	c.hashes = slices.Clone(c.hashes[max(0, len(c.hashes)-hashesMax):])
}

// hash returns the hash kept of the compaction at revision.
func (c *compactions) hash(revision int64) (KVHash, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, h := range c.hashes {
		if h.HashRevision == revision {
			return h, true
		}
	}
	return KVHash{}, false
}

// whole returns the compaction at revision if the state still holds all that
// its hash covers: nothing above its previous one, target included, was swept.
func (c *compactions) whole(revision, target int64) (compaction, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, p := range c.pending {
		if p.revision == revision && p.previous >= target {
			return p, true
		}
	}
	return compaction{}, false
}

// HashKV returns etcd's hash of the key space up to revision, 0 for the newest.
// As in etcd, the hash of a revision that was compacted since this process
// started is the one that covers everything since the compaction before, and
// is known for the newest few of them.
func (m *Machine) HashKV(ctx context.Context, revision int64) (KVHash, error) {
	return m.HashKVSlowly(ctx, revision, func(time.Duration) error { return ctx.Err() })
}

// HashKVSlowly is HashKV for the background: after each piece rest is told how
// long that took. Its error ends the work.
func (m *Machine) HashKVSlowly(ctx context.Context, revision int64, rest func(worked time.Duration) error) (KVHash, error) {
	v, err := m.acquireView()
	if err != nil {
		return KVHash{}, err
	}
	defer v.handle.Release()
	if err := ctx.Err(); err != nil {
		return KVHash{}, err
	}
	snapshot := v.handle.DB().NewSnapshot()
	h, err := m.hashKV(snapshot, v.sweep, revision, rest)
	m.store.Damaged(v.handle, err)
	return h, errors.Join(err, snapshot.Close())
}

// CompactionHashes returns the hashes that are kept of compactions, the newest
// first.
func (m *Machine) CompactionHashes() []KVHash {
	m.compactions.mu.Lock()
	defer m.compactions.mu.Unlock()
	all := slices.Clone(m.compactions.hashes)
	slices.Reverse(all)
	return all
}

func (m *Machine) hashKV(db pebble.Reader, swept *sweepState, revision int64, rest func(time.Duration) error) (KVHash, error) {
	// What the snapshot says of itself: the view may be older.
	meta, err := readMeta(db, false)
	if err != nil {
		return KVHash{}, err
	}
	hasher := &mvcc.Hasher{Compacted: meta.compacted, Revision: revision}
	// In this order: a sweep says that it begins before it removes anything,
	// and keeps the hash before that.
	if c, ok := m.compactions.whole(revision, swept.target.Load()); ok {
		hasher.Compacted, hasher.ForCompaction = c.previous, true
	} else if h, ok := m.compactions.hash(revision); ok {
		h.Revision = meta.revision
		return h, nil
	}
	switch {
	case revision > 0 && revision < meta.compacted && !hasher.ForCompaction:
		return KVHash{}, fmt.Errorf("hash: %w: %d, compacted up to %d", ErrCompacted, revision, meta.compacted)
	case revision > meta.revision:
		return KVHash{}, fmt.Errorf("hash: %w: %d, the newest is %d", ErrFutureRevision, revision, meta.revision)
	case revision == 0:
		hasher.Revision = meta.revision
	}
	for {
		began := time.Now()
		done, err := hasher.Step(db, hashChunk)
		if err != nil {
			return KVHash{}, err
		}
		if done {
			break
		}
		if err := rest(time.Since(began)); err != nil {
			return KVHash{}, err
		}
	}
	return KVHash{Hash: hasher.Sum(), CompactRevision: hasher.Compacted, HashRevision: hasher.Revision, Revision: meta.revision}, nil
}

// StateHash returns a hash of the replicated state, equal on all members at
// equal indexes: of every record but those that the member's own sweeps are
// about, namely its sweep record, and versions that a compaction made
// unreadable and that are or are not there any more. It reads all of the
// state: for tests and for checks, not for use under load.
func (m *Machine) StateHash() (uint64, error) {
	h, err := m.store.Acquire()
	if err != nil {
		return 0, err
	}
	defer h.Release()
	snapshot := h.DB().NewSnapshot()
	digest := xxhash.New()
	err = hashState(snapshot, digest)
	return digest.Sum64(), errors.Join(err, snapshot.Close())
}

func hashState(db pebble.Reader, digest *xxhash.Digest) error {
	meta, err := readMeta(db, false)
	if err != nil {
		return err
	}
	for _, table := range keys.All() {
		readable := mvcc.NewReadable(db, meta.compacted)
		err := scanTable(db, table, false, func(key, value []byte) error {
			switch table {
			case keys.Meta:
				if string(key[1:len(key)-1]) == metaSwept {
					return nil
				}
			case keys.Keys:
				if ok, err := readable.Version(key, value); err != nil || !ok {
					return err
				}
			case keys.Revisions:
				return hashChanges(readable, key, value, digest)
			}
			return hashRecord(digest, key, value)
		})
		if err := errors.Join(err, readable.Close()); err != nil {
			return err
		}
	}
	return nil
}

// hashChanges hashes the changes of a record as if each had its own: which of them
// share one is up to how a member batched them.
func hashChanges(readable *mvcc.Readable, recordKey, value []byte, digest *xxhash.Digest) error {
	return mvcc.VisitChanges(recordKey, value, func(rev keys.Revision, key []byte) error {
		if ok, err := readable.Change(rev, key); err != nil || !ok {
			return err
		}
		return hashRecord(digest, keys.AppendRevision(nil, rev), key)
	})
}

func hashRecord(digest *xxhash.Digest, key, value []byte) error {
	var lengths effects
	lengths.numbers(uint64(len(key)), uint64(len(value)))
	for _, part := range [][]byte{lengths.header, key, value} {
		if _, err := digest.Write(part); err != nil {
			return err
		}
	}
	return nil
}
