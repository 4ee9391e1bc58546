package wal

import (
	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"
)

// entryOverheadBytes is what an entry takes in memory beside its encoding: the
// message, its three boxed numbers, the slot in the tail.
const entryOverheadBytes = 128

// entryID is the identity of an entry: no two entries have the same one.
type entryID struct {
	index, term uint64
}

func idOf(meta *raftpb.SnapshotMetadata) entryID {
	return entryID{index: meta.GetIndex(), term: meta.GetTerm()}
}

// tail holds consecutive entries in memory. It is not safe for concurrent use.
type tail struct {
	// base is the entry before the first.
	base    entryID
	entries []*raftpb.Entry
	// bytes is the sum of entryBytes over entries.
	bytes uint64
}

func entryBytes(e *raftpb.Entry) uint64 {
	return uint64(proto.Size(e)) + entryOverheadBytes
}

func (t *tail) first() uint64 { return t.base.index + 1 }
func (t *tail) last() uint64  { return t.base.index + uint64(len(t.entries)) }

// lastID returns the identity of the last entry, or base.
func (t *tail) lastID() entryID {
	if n := len(t.entries); n > 0 {
		return entryID{index: t.last(), term: t.entries[n-1].GetTerm()}
	}
	return t.base
}

// term returns the term of entry i, for base.index <= i <= last.
func (t *tail) term(i uint64) (uint64, error) {
	switch {
	case i < t.base.index:
		return 0, raft.ErrCompacted
	case i == t.base.index:
		return t.base.term, nil
	case i > t.last():
		return 0, raft.ErrUnavailable
	}
	return t.entries[i-t.first()].GetTerm(), nil
}

// has says whether id is an entry of the tail, or its base.
func (t *tail) has(id entryID) bool {
	term, err := t.term(id.index)
	return err == nil && term == id.term
}

// slice returns a copy of entries [lo, hi) up to maxBytes of encoding, at least
// one. A copy, because append writes into the array that a reader still holds.
func (t *tail) slice(lo, hi, maxBytes uint64) ([]*raftpb.Entry, error) {
	switch {
	case lo < t.first():
		return nil, raft.ErrCompacted
	case hi > t.last()+1:
		return nil, raft.ErrUnavailable
	case lo >= hi:
		return nil, nil
	}
	from := t.entries[lo-t.first() : hi-t.first()]
	size := uint64(proto.Size(from[0]))
	n := 1
	for ; n < len(from); n++ {
		if size += uint64(proto.Size(from[n])); size > maxBytes {
			break
		}
	}
	return append(make([]*raftpb.Entry, 0, n), from[:n]...), nil
}

// append replaces everything from the first of entries on. The entries must
// have passed checkEntries.
func (t *tail) append(entries []*raftpb.Entry) {
	if len(entries) == 0 {
		return
	}
	t.truncate(entries[0].GetIndex())
	t.entries = append(t.entries, entries...)
	for _, e := range entries {
		t.bytes += entryBytes(e)
	}
}

// truncate drops the entries from index `from` on.
func (t *tail) truncate(from uint64) {
	keep := from - t.first()
	for i := keep; i < uint64(len(t.entries)); i++ {
		t.bytes -= entryBytes(t.entries[i])
		t.entries[i] = nil // for the garbage collector
	}
	t.entries = t.entries[:keep]
}

// release drops the entries up to index `to`, base.index <= to <= last.
func (t *tail) release(to uint64) {
	if to <= t.base.index {
		return
	}
	term, n := t.entries[to-t.first()].GetTerm(), to-t.base.index
	for i := range n {
		t.bytes -= entryBytes(t.entries[i])
		t.entries[i] = nil // for the garbage collector
	}
	// The array is not moved: the append that finds it full copies what is left.
	t.entries = t.entries[n:]
	t.base = entryID{index: to, term: term}
}

// shrink drops entries up to index `unneeded`, oldest first, until the rest
// is within the budget.
func (t *tail) shrink(budget budget, unneeded uint64) {
	to, bytes := t.base.index, t.bytes
	for (bytes > budget.bytes || t.last()-to > budget.entries) && to < min(unneeded, t.last()) {
		bytes -= entryBytes(t.entries[to-t.base.index])
		to++
	}
	t.release(to)
}

// restart empties the tail and puts it behind base.
func (t *tail) restart(base entryID) {
	*t = tail{base: base}
}
