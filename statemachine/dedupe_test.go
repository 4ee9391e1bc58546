package statemachine_test

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/raft/v3/raftpb"

	"raftkv/statemachine/envelope"
)

// batchEntry is an entry of a given batch, with one append, so that applying
// it twice would show.
func (l *logWriter) batchEntry(proposer, boot, batch uint64) *raftpb.Entry {
	put := &pb.PutRequest{Key: fmt.Appendf(nil, "%d", proposer), Value: fmt.Appendf(nil, " %d/%d", boot, batch)}
	return l.raw(envelope.Pack(envelope.Envelope{Proposer: proposer, Boot: boot, Batch: batch},
		[][]byte{command(l.t, envelope.KindAppend, put)}))
}

func TestBatchAppliedOnce(t *testing.T) {
	m, l := start(t), newLog(t)
	for _, step := range []struct {
		proposer, boot, batch uint64
		applied               bool
	}{
		{1, 1, 1, true},
		{1, 1, 1, false},
		{2, 1, 1, true},  // another proposer
		{1, 1, 5, true},  // gaps are no duplicates
		{1, 1, 3, true},  // nor is what comes late
		{1, 1, 3, false}, // unless it was there
		{1, 1, 5 + 1023, true},
		{1, 1, 5, false},
		{1, 1, 6, true},     // still within the window
		{1, 1, 4, false},    // behind the window: taken for a duplicate
		{1, 2, 1, true},     // a new boot counts anew
		{1, 1, 2000, false}, // the old one is over
		{1, 2, 1, false},
	} {
		before := m.Revision()
		results := apply(t, m, l.batchEntry(step.proposer, step.boot, step.batch))
		if applied := len(results) == 1; applied != step.applied {
			t.Fatalf("batch %+v: applied and answered %t", step, applied)
		}
		if applied := m.Revision() == before+1; applied != step.applied {
			t.Fatalf("batch %+v: changed the revision %t", step, applied)
		}
		if index, _ := m.Applied(); index != l.index {
			t.Fatalf("applied index %d, want %d: duplicates move it too", index, l.index)
		}
	}
}

// TestDuplicateInOneCall: the table counts before the batch is committed.
func TestDuplicateInOneCall(t *testing.T) {
	m, l := start(t), newLog(t)
	results := apply(t, m, l.batchEntry(1, 1, 1), l.batchEntry(1, 1, 2), l.batchEntry(1, 1, 1))
	if len(results) != 2 || m.Revision() != 3 {
		t.Fatalf("%d results, revision %d", len(results), m.Revision())
	}
}

// TestDedupeMatchesModel compares random batches with a set of all batches
// that were ever applied, through restarts.
func TestDedupeMatchesModel(t *testing.T) {
	const seedValue = 5
	t.Logf("seed %d", seedValue)
	r := rand.New(rand.NewPCG(seedValue, 0))
	fs := vfs.NewMem()
	m := open(t, fs)
	if err := m.Bootstrap(seed()); err != nil {
		t.Fatal(err)
	}
	type id struct{ proposer, boot, batch uint64 }
	applied := make(map[id]bool)
	boot, newest := map[uint64]uint64{1: 1, 2: 1}, map[uint64]uint64{}
	l := newLog(t)
	fresh, duplicates := 0, 0
	for range 6000 {
		b := id{proposer: 1 + r.Uint64N(2)}
		b.boot = boot[b.proposer]
		b.batch = 1 + newest[b.proposer] + r.Uint64N(3)
		if r.IntN(2) == 0 { // sent again, or late
			b.batch -= min(b.batch-1, r.Uint64N(1100))
		}
		want := !applied[b] && b.batch+1023 >= max(newest[b.proposer], b.batch)
		if got := len(apply(t, m, l.batchEntry(b.proposer, b.boot, b.batch))) == 1; got != want {
			t.Fatalf("batch %+v behind %d: applied %t, want %t", b, newest[b.proposer], got, want)
		}
		if want {
			fresh++
		} else {
			duplicates++
		}
		applied[b] = true
		newest[b.proposer] = max(newest[b.proposer], b.batch)
		switch r.IntN(300) {
		case 0:
			boot[b.proposer]++
			newest[b.proposer] = 0
		case 1:
			closeMachine(t, m)
			m = open(t, fs)
		}
	}
	closeMachine(t, m)
	if fresh < 1000 || duplicates < 1000 {
		t.Fatalf("%d fresh, %d duplicates: the test exercises too little", fresh, duplicates)
	}
}
