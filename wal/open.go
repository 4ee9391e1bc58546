package wal

import (
	"errors"
	"fmt"

	"go.etcd.io/raft/v3/raftpb"
	"go.uber.org/zap"
)

// Open opens the log in opts.Dir for a state machine that is at state: index
// and term of the last entry it applied, with its ConfState.
func Open(opts Options, state *raftpb.SnapshotMetadata) (*Log, error) {
	opts.EnsureDefaults()
	if err := opts.Validate(); err != nil {
		return nil, err
	}
	segments, err := openFiles(opts)
	if err != nil {
		return nil, err
	}
	return OpenOn(segments, opts, state)
}

// OpenOn opens the log that segments hold. It takes them over, also when it
// fails. Of opts it uses what does not concern files.
func OpenOn(segments Segments, opts Options, state *raftpb.SnapshotMetadata) (*Log, error) {
	opts.EnsureDefaults()
	l, err := recoverLog(segments, opts, state)
	if err != nil {
		var rule *ruleError
		var damage *DamageError
		if errors.As(err, &rule) && !errors.As(err, &damage) {
			err = &DamageError{File: opts.Dir, Reason: err}
		}
		return nil, errors.Join(err, segments.Close())
	}
	return l, nil
}

func recoverLog(segments Segments, opts Options, state *raftpb.SnapshotMetadata) (*Log, error) {
	r := newReplay(opts.Metadata, state)
	if err := segments.Replay(r.visit); err != nil {
		return nil, err
	}
	rec, err := r.finish()
	if err != nil {
		return nil, err
	}
	if err := segments.Resume(rec.start); err != nil {
		return nil, err
	}
	start := cloneMeta(rec.start)
	if rec.restart {
		start = cloneMeta(state)
		opts.Logger.Warn("the log restarts behind the state machine, which installed a snapshot before a crash",
			zap.Uint64("applied-index", state.GetIndex()), zap.Uint64("last-index", r.tail.last()))
	}
	if err := settle(segments, start, rec.state); err != nil {
		return nil, err
	}
	l := &Log{
		segments: segments,
		budget:   opts.budget(),
		initial:  rec.state,
		conf:     cloneMeta(state).GetConfState(),
		state:    rec.state,
		released: start.GetIndex(),
	}
	l.mu.tail = rec.tail
	l.mu.tail.shrink(l.budget, state.GetIndex())
	opts.Logger.Info("opened the log", zap.Uint64("first-index", l.mu.tail.first()), zap.Uint64("last-index", l.mu.tail.last()),
		zap.Uint64("term", rec.state.GetTerm()), zap.Uint64("commit-index", rec.state.GetCommit()))
	return l, nil
}

// settle makes what was recovered the durable truth, before anybody may act on
// it. Three things would go wrong without it:
//
// The segments do not remember the hard state over a restart: the next segment
// would begin without it, and once the older ones are released the vote is
// forgotten. So it is saved at once.
//
// What was read may be in the page cache only, left there by a process that was
// killed before its fsync. Acknowledging it now and losing power later would
// lose it. Resume has synced it, and SaveSnapshot syncs what follows.
//
// Segments are named after the entry that is expected next, and opened at the
// last one whose name is not beyond the snapshot record, which must be in it or
// later. After a restart the name counts from the last entry read, which may
// lie before the record if the log was restarted behind a snapshot. So the
// record is written again first, before anything can begin a new segment. (That
// it may be beyond the saved commit index until the next line only matters to
// etcd's own tools: replay measures records by the applied index.)
func settle(segments Segments, start *raftpb.SnapshotMetadata, state *raftpb.HardState) error {
	if err := segments.SaveSnapshot(start); err != nil {
		return fmt.Errorf("wal: save the snapshot record after opening: %w", err)
	}
	if err := segments.Save(newState(state.GetTerm(), state.GetVote(), state.GetCommit()), nil); err != nil {
		return fmt.Errorf("wal: save the hard state after opening: %w", err)
	}
	if err := segments.Sync(); err != nil {
		return fmt.Errorf("wal: sync after opening: %w", err)
	}
	return nil
}

// CreateOn makes new segments the log of a member whose state machine starts at
// anchor. The log of a member that joins starts at index 0: it gets its first
// state by a snapshot.
func CreateOn(segments Segments, anchor *raftpb.SnapshotMetadata) error {
	// The hard state first: etcd's readers ignore a record beyond its commit.
	if err := segments.Save(newState(anchor.GetTerm(), 0, anchor.GetIndex()), nil); err != nil {
		return fmt.Errorf("wal: save the first hard state: %w", err)
	}
	if err := segments.SaveSnapshot(cloneMeta(anchor)); err != nil {
		return fmt.Errorf("wal: save the first snapshot record: %w", err)
	}
	return nil
}
