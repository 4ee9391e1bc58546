package wal

import (
	"fmt"

	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"
)

// replay rebuilds a log from its records. It follows the order in which they
// were written, which etcd's own reader does not: that one takes one snapshot
// record and collects entries around it, so it needs the caller to verify that
// the record exists at all, and from 5@term 4 it returned a divergent tail 6@2
// that an installed snapshot had replaced.
type replay struct {
	metadata Metadata
	// applied is the position of the state machine. Snapshot records beyond it
	// cannot be started from.
	applied entryID

	tail tail
	// state is never nil.
	state *raftpb.HardState
	// start is the newest snapshot record up to applied, nil before there is
	// one; the entries before it may lack their beginning.
	start *raftpb.SnapshotMetadata
	// begun says that an entry or a snapshot record was seen, solid that an
	// entry was. A record before the first entry may be one whose own successors
	// went away with an older segment.
	begun, solid bool
}

func newReplay(metadata Metadata, state *raftpb.SnapshotMetadata) *replay {
	return &replay{metadata: metadata, applied: idOf(state), state: newState(0, 0, 0)}
}

func (r *replay) visit(record Record) error {
	switch {
	case record.Metadata != nil:
		return checkMetadata(record.Metadata, r.metadata)
	case record.State != nil:
		if err := checkState(r.state, record.State); err != nil {
			return err
		}
		r.state = record.State
		return nil
	case record.Entry != nil:
		return r.entry(record.Entry)
	case record.Snapshot != nil:
		return r.snapshot(record.Snapshot)
	}
	return broken("a record without content")
}

func (r *replay) entry(e *raftpb.Entry) error {
	if e.GetIndex() == 0 {
		return broken("an entry without index")
	}
	// What was before it may have gone away with older segments: before the
	// first entry anything, later what it replaces. The record that allowed
	// that is still to come; its term fills in that of the base.
	gone := !r.begun || !r.solid && e.GetIndex() > r.tail.last()+1
	if gone || r.start == nil && e.GetIndex() <= r.tail.base.index {
		r.tail.restart(entryID{index: e.GetIndex() - 1})
		r.start = nil
	}
	r.begun, r.solid = true, true
	// The commit index seen so far is that of an older write: within one, the
	// entries come first.
	entries := []*raftpb.Entry{e}
	if err := checkEntries(&r.tail, r.state.GetCommit(), entries); err != nil {
		return err
	}
	r.tail.append(entries)
	return nil
}

// snapshot handles a snapshot record. One at or before the commit index released
// what was before it: Log.Release saves a commit index that covers it first. One
// beyond the commit index restarted the log: Log.Reset saves the record first.
func (r *replay) snapshot(meta *raftpb.SnapshotMetadata) error {
	id, base := idOf(meta), r.tail.base
	known := r.begun && r.tail.has(id)
	if id.index > r.applied.index {
		if known {
			return nil
		}
		return fmt.Errorf("%w: it has applied %d, the log starts behind %d; %s", ErrStateBehind, r.applied.index, id.index, remedy)
	}
	restarts := id.index > r.state.GetCommit() || !r.solid
	switch {
	case known:
		r.tail.release(id.index)
	case r.start != nil && id.index <= base.index:
		return broken("snapshot record %d of term %d is behind record %d of term %d", id.index, id.term, base.index, base.term)
	case restarts:
		r.tail.restart(id)
	case r.start == nil && id.index < base.index:
		return nil // the entries behind it went away with older segments
	case r.start == nil && id.index == base.index:
		r.tail.base.term = id.term
	default:
		return broken("snapshot record %d of term %d contradicts a committed entry", id.index, id.term)
	}
	r.begun, r.start = true, meta
	return nil
}

// recovered is what replay leads to.
type recovered struct {
	tail  tail
	state *raftpb.HardState
	// start is the snapshot record to open the segments at.
	start *raftpb.SnapshotMetadata
	// restart says that the log must be restarted behind the state machine.
	restart bool
}

// finish decides, from what the segments hold and where the state machine is,
// how the log goes on.
func (r *replay) finish() (recovered, error) {
	if r.start == nil {
		return recovered{}, fmt.Errorf("%w: it has applied %d, and no snapshot record is at or before that; %s",
			ErrStateBehind, r.applied.index, remedy)
	}
	out := recovered{tail: r.tail, start: r.start}
	commit := r.state.GetCommit()
	if commit > r.tail.last() {
		return recovered{}, broken("the commit index is %d, but the last entry is %d", commit, r.tail.last())
	}
	if !r.tail.has(r.applied) {
		// The state machine installed a snapshot and the member crashed before
		// the log followed. raft installs one only where the log does not match
		// it, so what is dropped here was never needed: its entries up to the
		// snapshot are not those that were committed.
		if r.applied.index <= max(commit, r.start.GetIndex()) {
			term, err := r.tail.term(r.applied.index)
			if err != nil {
				return recovered{}, err
			}
			return recovered{}, broken("entry %d is committed in term %d, but the state machine applied one of term %d",
				r.applied.index, term, r.applied.term)
		}
		out.restart = true
		out.tail.restart(r.applied)
	}
	out.state = raise(r.state, max(commit, r.applied.index), out.tail.lastID().term)
	return out, nil
}

// raise returns hs with at least the given commit index and term. The saved
// commit index lags behind what was applied, because a change of it alone is
// not synced. The saved term lags behind that of the entries when a write was
// torn between them; this member cannot have voted in a term it never saved, so
// it starts that term without a vote.
func raise(hs *raftpb.HardState, commit, term uint64) *raftpb.HardState {
	out := newState(hs.GetTerm(), hs.GetVote(), max(hs.GetCommit(), commit))
	if term > hs.GetTerm() {
		out.Term, out.Vote = new(term), new(uint64(0))
	}
	return out
}

// cloneMeta returns a copy of meta in which every field is present, as a
// snapshot record requires.
func cloneMeta(meta *raftpb.SnapshotMetadata) *raftpb.SnapshotMetadata {
	conf := proto.CloneOf(meta.GetConfState()) // nil for nil
	return &raftpb.SnapshotMetadata{
		Index: new(meta.GetIndex()), Term: new(meta.GetTerm()), ConfState: raftpb.EnsureConfState(conf),
	}
}
