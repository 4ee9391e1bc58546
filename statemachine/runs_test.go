package statemachine_test

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/raft/v3/raftpb"

	"raftkv/statemachine"
)

// TestRunsChangeNothing: a member that applies many entries at once, whose changes
// share records, and one that applies them one by one hold the same and answer the
// same between any two steps of a sweep, as does one that gets the state in the
// middle of a sweep.
func TestRunsChangeNothing(t *testing.T) {
	for n := range uint64(6) {
		fs, r := vfs.NewMem(), rand.New(rand.NewPCG(n, 9))
		p := &runsPair{t: t, r: r, l: newLog(t), many: openAt(t, fs, "many"), single: openAt(t, fs, "single"), third: openAt(t, fs, "third")}
		h := &historian{generator{r: r}}
		for _, m := range p.all() {
			if err := m.Bootstrap(seed()); err != nil {
				t.Fatal(err)
			}
		}
		for round := range 8 {
			var entries []*raftpb.Entry
			for range 30 + r.IntN(200) {
				req, _ := h.write()
				entries = append(entries, p.l.entry(request(t, req)))
			}
			p.apply(entries)
			p.sweep(fmt.Sprintf("snapshot%d", round))
		}
		for _, m := range p.all() {
			closeMachine(t, m)
		}
	}
}

type runsPair struct {
	t                   *testing.T
	r                   *rand.Rand
	l                   *logWriter
	many, single, third *statemachine.Machine
}

func (p *runsPair) all() []*statemachine.Machine {
	return []*statemachine.Machine{p.many, p.single, p.third}
}

func (p *runsPair) apply(entries []*raftpb.Entry) {
	for rest := entries; len(rest) > 0; {
		n := min(len(rest), 1+p.r.IntN(150))
		apply(p.t, p.many, rest[:n]...)
		rest = rest[n:]
	}
	for _, e := range entries {
		apply(p.t, p.single, e)
	}
}

// sweep compacts at a revision by chance and compares after each step; third gets the
// state after one of them.
func (p *runsPair) sweep(snapshot string) {
	lowest := max(p.many.CompactedRevision()+1, 1)
	target := lowest + p.r.Int64N(p.many.Revision()-lowest+1)
	compaction := p.l.entry(request(p.t, &pb.CompactionRequest{Revision: target}))
	apply(p.t, p.many, compaction)
	apply(p.t, p.single, compaction)
	want := p.observe(p.many, target)
	limit, handOver := 1+p.r.IntN(60), p.r.IntN(5)
	for step, more := 0, true; more; step++ {
		var err error
		if more, _, err = p.many.SweepStep(limit); err != nil {
			p.t.Fatal(err)
		}
		if got := p.observe(p.many, target); got != want {
			p.t.Fatalf("after step %d of the sweep at %d: %s, before %s", step, target, got, want)
		}
		p.compareHistory(target + 1)
		if step == handOver {
			replaceFrom(p.t, p.many, p.third, snapshot)
			sweep(p.t, p.third, 1+p.r.IntN(30))
			checkLiveBytes(p.t, p.third)
		}
	}
	sweep(p.t, p.single, 1000)
	compareTables(p.t, p.many, p.single)
	if index, _ := p.third.Applied(); index == p.l.index {
		compareTables(p.t, p.third, p.single)
	}
}

// observe tells what must not depend on how far a sweep is.
func (p *runsPair) observe(m *statemachine.Machine, target int64) string {
	checkLiveBytes(p.t, m)
	state, err := m.StateHash()
	if err != nil {
		p.t.Fatal(err)
	}
	out := fmt.Sprintf("state %x", state)
	for _, revision := range []int64{0, target} {
		hash, err := m.HashKV(p.t.Context(), revision)
		if err != nil {
			p.t.Fatal(err)
		}
		out += fmt.Sprintf(" hash at %d %+v", revision, hash)
	}
	return out
}

// compareHistory reads it in pieces.
func (p *runsPair) compareHistory(from int64) {
	for from <= p.many.Revision() {
		limits := statemachine.HistoryLimits{ScanMax: 1 + p.r.IntN(50), BytesMax: 1 << 20}
		got, err := p.many.History(from, limits, nil)
		if err != nil {
			p.t.Fatal(err)
		}
		want, err := p.single.History(from, limits, nil)
		if err != nil {
			p.t.Fatal(err)
		}
		if got.Next != want.Next || fmt.Sprint(got.Changes) != fmt.Sprint(want.Changes) {
			p.t.Fatalf("history from %d: up to %d %v, want up to %d %v", from, got.Next, got.Changes, want.Next, want.Changes)
		}
		from = got.Next
	}
}
