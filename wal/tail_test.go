package wal

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"
)

func entry(index, term uint64, data int) *raftpb.Entry {
	return &raftpb.Entry{Index: new(index), Term: new(term), Data: make([]byte, data)}
}

// TestTailIsMemoryStorage does the same random things to a tail and to raft's
// own MemoryStorage and compares every answer.
func TestTailIsMemoryStorage(t *testing.T) {
	for seed := range uint64(50) {
		t.Run(fmt.Sprintf("seed=%d", seed), func(t *testing.T) {
			rng := rand.New(rand.NewPCG(seed, 2))
			start := &raftpb.SnapshotMetadata{Index: new(rng.Uint64N(3)), Term: new(uint64(1)), ConfState: &raftpb.ConfState{}}
			model := raft.NewMemoryStorage()
			if start.GetIndex() > 0 {
				if err := model.ApplySnapshot(&raftpb.Snapshot{Metadata: start}); err != nil {
					t.Fatal(err)
				}
			} else {
				start.Term = new(uint64(0))
			}
			tl := &tail{base: idOf(start)}
			for term := uint64(1); term < 200; term++ {
				mutate(t, rng, tl, model, term)
				compareWithModel(t, rng, tl, model)
			}
		})
	}
}

func mutate(t *testing.T, rng *rand.Rand, tl *tail, model *raft.MemoryStorage, term uint64) {
	t.Helper()
	switch rng.IntN(4) {
	case 0:
		if to := tl.base.index + rng.Uint64N(uint64(len(tl.entries))+1); to > tl.base.index {
			tl.release(to)
			if err := model.Compact(to); err != nil {
				t.Fatal(err)
			}
		}
	case 1:
		if rng.IntN(10) > 0 {
			return
		}
		meta := &raftpb.SnapshotMetadata{Index: new(tl.last() + 1 + rng.Uint64N(9)), Term: new(term), ConfState: &raftpb.ConfState{}}
		tl.restart(idOf(meta))
		if err := model.ApplySnapshot(&raftpb.Snapshot{Metadata: meta}); err != nil {
			t.Fatal(err)
		}
	default:
		first := tl.first() + rng.Uint64N(uint64(len(tl.entries))+1)
		var entries []*raftpb.Entry
		for i := range uint64(rng.IntN(6)) {
			entries = append(entries, entry(first+i, term, rng.IntN(50)))
		}
		if err := checkEntries(tl, 0, entries); err != nil {
			t.Fatal(err)
		}
		tl.append(entries)
		if err := model.Append(entries); err != nil {
			t.Fatal(err)
		}
	}
}

func compareWithModel(t *testing.T, rng *rand.Rand, tl *tail, model *raft.MemoryStorage) {
	t.Helper()
	first, _ := model.FirstIndex()
	last, _ := model.LastIndex()
	if tl.first() != first || tl.last() != last {
		t.Fatalf("[%d, %d], want [%d, %d]", tl.first(), tl.last(), first, last)
	}
	for i := first - min(first, 3); i <= last+3; i++ {
		got, err := tl.term(i)
		want, wantErr := model.Term(i)
		if got != want || !errors.Is(err, wantErr) {
			t.Fatalf("term of %d: %d %v, want %d %v", i, got, err, want, wantErr)
		}
	}
	var bytes uint64
	for _, e := range tl.entries {
		bytes += entryBytes(e)
	}
	if tl.bytes != bytes {
		t.Fatalf("%d bytes counted, %d held", tl.bytes, bytes)
	}
	for lo := first - min(first, 1); lo <= last; lo++ {
		hi := lo + 1 + rng.Uint64N(last-lo+1)
		maxBytes := rng.Uint64N(200)
		got, err := tl.slice(lo, hi, maxBytes)
		want, wantErr := model.Entries(lo, hi, maxBytes)
		if !errors.Is(err, wantErr) || len(got) != len(want) {
			t.Fatalf("entries [%d, %d) of %d bytes: %d %v, want %d %v", lo, hi, maxBytes, len(got), err, len(want), wantErr)
		}
		for i := range got {
			if !proto.Equal(got[i], want[i]) {
				t.Fatalf("entry %v, want %v", got[i], want[i])
			}
		}
	}
}

// TestTailSlicesAreCopies: what a reader holds does not change when entries are
// replaced.
func TestTailSlicesAreCopies(t *testing.T) {
	tl := &tail{}
	tl.append([]*raftpb.Entry{entry(1, 1, 0), entry(2, 1, 0)})
	got, err := tl.slice(1, 3, math.MaxUint64)
	if err != nil {
		t.Fatal(err)
	}
	tl.append([]*raftpb.Entry{entry(2, 2, 0)})
	if got[1].GetTerm() != 1 {
		t.Fatalf("a slice given away changed: %v", got)
	}
}

func TestShrinkStopsAtUnneeded(t *testing.T) {
	for _, c := range []struct{ budget, entries, unneeded, first uint64 }{
		{budget: 0, unneeded: 0, first: 1},
		{budget: 0, unneeded: 3, first: 4},
		{budget: 0, unneeded: 99, first: 11},
		{budget: math.MaxUint64, unneeded: 99, first: 1},
		{budget: 5 * entryBytes(entry(1, 1, 10)), unneeded: 99, first: 6},
		{budget: 5*entryBytes(entry(1, 1, 10)) - 1, unneeded: 99, first: 7},
		{budget: math.MaxUint64, entries: 4, unneeded: 99, first: 7},
		{budget: math.MaxUint64, entries: 4, unneeded: 3, first: 4},
		{budget: math.MaxUint64, entries: 10, unneeded: 99, first: 1},
	} {
		tl := &tail{}
		for i := range uint64(10) {
			tl.append([]*raftpb.Entry{entry(i+1, 1, 10)})
		}
		tl.shrink(budget{bytes: c.budget, entries: cmp.Or(c.entries, math.MaxUint64)}, c.unneeded)
		if tl.first() != c.first || tl.last() != 10 {
			t.Errorf("budget %d, unneeded %d: [%d, %d], want [%d, 10]", c.budget, c.unneeded, tl.first(), tl.last(), c.first)
		}
	}
}
