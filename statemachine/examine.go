package statemachine

import (
	"context"
	"errors"
	"fmt"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/raft/v3/raftpb"

	"raftkv/statemachine/engine"
	"raftkv/statemachine/mvcc"
)

// Summary is what a state says of itself without being opened for writing.
type Summary struct {
	ClusterID, Index, Term      uint64
	ConfState                   *raftpb.ConfState
	Revision, CompactedRevision int64
	RollingHash                 uint64
	ClusterVersion              Version
	Members                     []Member
	Removed                     []uint64
	Alarms                      []*pb.AlarmMember
}

// Meta returns the position the state stands for.
func (s *Summary) Meta() *raftpb.SnapshotMetadata {
	return &raftpb.SnapshotMetadata{Index: &s.Index, Term: &s.Term, ConfState: s.ConfState}
}

func summarize(v *view) Summary {
	s := Summary{
		ClusterID: v.clusterID, Index: v.index, Term: v.term, ConfState: v.conf,
		Revision: v.revision, CompactedRevision: v.compacted, RollingHash: v.hash,
		ClusterVersion: v.clusterVersion, Members: v.members, Removed: v.removed,
	}
	for _, a := range v.alarms {
		s.Alarms = append(s.Alarms, a.toProto())
	}
	return s
}

// Summarize returns the summary of the state as it is now.
func (m *Machine) Summarize() Summary {
	s := summarize(m.view.Load())
	s.Members = m.Members()
	return s
}

// Describe reads the summary of the checkpoint in dir, which this machine made
// on its own file system.
func (m *Machine) Describe(dir string) (Summary, error) {
	var s Summary
	err := Examine(m.opts.FS, dir, func(e *Examined) error {
		s = e.Summary
		return nil
	})
	return s, err
}

// Examined is a state that is open for reading only.
type Examined struct {
	Summary
	db *pebble.DB
}

// Examine opens the database in dir, a checkpoint or the live database of a
// state that nobody has open, and reads all that Open would read; an error
// means that Open would fail as well. Nothing in it is changed.
func Examine(fs vfs.FS, dir string, f func(*Examined) error) error {
	return engine.Examine(fs, dir, func(db *pebble.DB) error {
		h := engine.NewReader(db)
		v, _, err := load(h)
		switch {
		case err != nil:
			return err
		case !v.initialized:
			return ErrNotInitialized
		}
		return f(&Examined{Summary: summarize(v), db: db})
	})
}

// LiveDatabase returns the path of the live database of a state directory.
func LiveDatabase(fs vfs.FS, dir string) (string, error) { return engine.LiveDatabase(fs, dir) }

// CheckTables verifies every block of the tables in a database's directory.
func CheckTables(ctx context.Context, fs vfs.FS, dir string, broken func(path string, err error)) (tables int, bytes int64, err error) {
	return engine.CheckTables(ctx, fs, dir, broken)
}

// Keys counts the keys that exist at the newest revision.
func (e *Examined) Keys(ctx context.Context) (n int64, err error) {
	s, err := mvcc.NewSnapshot(e.db, e.Revision)
	if err != nil {
		return 0, err
	}
	n, err = s.Count(mvcc.Span{}, e.Revision, ctx.Err)
	return n, errors.Join(err, s.Close())
}

// HashKV returns etcd's hash of the key space at the newest revision.
func (e *Examined) HashKV(ctx context.Context) (uint32, error) {
	h := &mvcc.Hasher{Compacted: e.CompactedRevision, Revision: e.Revision}
	for {
		if err := ctx.Err(); err != nil {
			return 0, err
		}
		done, err := h.Step(e.db, hashChunk)
		if err != nil {
			return 0, fmt.Errorf("hashing the key space: %w", err)
		}
		if done {
			return h.Sum(), nil
		}
	}
}

// CheckLevels verifies that every record of the database can be read and is in
// its place.
func (e *Examined) CheckLevels() error { return e.db.CheckLevels(nil) }
