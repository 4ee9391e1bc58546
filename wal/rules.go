package wal

import (
	"go.etcd.io/raft/v3/raftpb"
)

// The rules that every raft log keeps. They are checked before a record is
// written, where a fault is a bug of the caller, and again when it is read,
// where a fault is damage that checksums cannot show: etcd's checksum covers
// the payload of a record but not its type, and one flipped bit turns a hard
// state into an entry.

// termStepMax is more elections than any cluster holds between two entries. A
// hard state that is read as an entry has the id of a member for its term, and
// those are random 64-bit numbers.
const termStepMax = 1 << 32

// checkEntries says whether entries may be written to a log that ends with t
// and is committed up to commit.
func checkEntries(t *tail, commit uint64, entries []*raftpb.Entry) error {
	if len(entries) == 0 {
		return nil
	}
	first := entries[0].GetIndex()
	switch {
	case first > t.last()+1:
		return broken("entry %d follows entry %d", first, t.last())
	case first <= commit:
		return broken("entry %d would replace a committed one, the commit index is %d", first, commit)
	case first <= t.base.index:
		return broken("entry %d would replace a released one, the log starts behind %d", first, t.base.index)
	}
	term, err := t.term(first - 1)
	if err != nil {
		return err
	}
	for i, e := range entries {
		if e.GetIndex() != first+uint64(i) {
			return broken("entry %d follows entry %d", e.GetIndex(), first+uint64(i)-1)
		}
		if e.GetTerm() < max(term, 1) {
			return broken("entry %d of term %d follows an entry of term %d", e.GetIndex(), e.GetTerm(), term)
		}
		if e.GetTerm()-term > termStepMax {
			return broken("entry %d of term %d follows an entry of term %d", e.GetIndex(), e.GetTerm(), term)
		}
		term = e.GetTerm()
	}
	return nil
}

// checkState says whether next may follow prev.
func checkState(prev, next *raftpb.HardState) error {
	switch {
	case next.GetTerm() < prev.GetTerm():
		return broken("term %d follows term %d", next.GetTerm(), prev.GetTerm())
	case next.GetTerm() == prev.GetTerm() && prev.GetVote() != 0 && next.GetVote() != prev.GetVote():
		return broken("a vote for %x follows one for %x in term %d", next.GetVote(), prev.GetVote(), next.GetTerm())
	case next.GetCommit() < prev.GetCommit():
		return broken("commit index %d follows %d", next.GetCommit(), prev.GetCommit())
	}
	return nil
}

// newState returns a hard state that nobody else holds. Every write takes a
// fresh one: etcd's WAL keeps the pointer, so a struct used twice would be
// compared with itself and a new vote would not be synced.
func newState(term, vote, commit uint64) *raftpb.HardState {
	return &raftpb.HardState{Term: new(term), Vote: new(vote), Commit: new(commit)}
}
