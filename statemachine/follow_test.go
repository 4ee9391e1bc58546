package statemachine_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"raftkv/statemachine"
)

// follower keeps what it is told.
type follower struct {
	t       *testing.T
	machine *statemachine.Machine
	wants   bool
	to      int64
	told    []statemachine.Progress
	changes []statemachine.Change
}

func (f *follower) Wants() bool { return f.wants }

func (f *follower) Advance(p statemachine.Progress) {
	if p.From != f.to+1 || p.To < p.From {
		f.t.Errorf("revisions %d to %d follow %d", p.From, p.To, f.to)
	}
	if f.machine.Revision() < p.To {
		f.t.Errorf("told of revision %d, visible is %d", p.To, f.machine.Revision())
	}
	f.to = p.To
	f.told = append(f.told, p)
	f.changes = append(f.changes, p.Changes...)
}

func follow(t *testing.T) (*statemachine.Machine, *follower) {
	t.Helper()
	f := &follower{t: t, wants: true, to: 1}
	o := options(t, vfs.NewMem())
	o.Follower = f
	m, err := statemachine.Open(o)
	if err != nil {
		t.Fatal(err)
	}
	f.machine = m
	if err := m.Bootstrap(seed()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closeMachine(t, m) })
	return m, f
}

// randomCommand writes to few keys, so that most exist.
func randomCommand(t *testing.T, rng *rand.Rand) []byte {
	key := func() []byte { return fmt.Appendf(nil, "k%d", rng.IntN(8)) }
	put := func(key []byte) *pb.PutRequest {
		return &pb.PutRequest{Key: key, Value: fmt.Appendf(nil, "v%d", rng.Uint32())}
	}
	switch rng.IntN(6) {
	case 0:
		return request(t, &pb.DeleteRangeRequest{Key: key(), RangeEnd: []byte("k9")})
	case 1:
		// Nested, so that one revision deletes a key and puts it again.
		again := key()
		return request(t, &pb.TxnRequest{Success: []*pb.RequestOp{
			{Request: &pb.RequestOp_RequestDeleteRange{RequestDeleteRange: &pb.DeleteRangeRequest{Key: again}}},
			{Request: &pb.RequestOp_RequestPut{RequestPut: put(again)}},
			{Request: &pb.RequestOp_RequestPut{RequestPut: put([]byte("other"))}},
		}})
	default:
		return request(t, put(key()))
	}
}

// history reads everything from a revision on, piece by piece.
func history(t *testing.T, m *statemachine.Machine, from int64, limits statemachine.HistoryLimits) (all []statemachine.Change) {
	t.Helper()
	for {
		h, err := m.History(from, limits, nil)
		if err != nil {
			t.Fatalf("history from %d: %v", from, err)
		}
		for _, c := range h.Changes {
			if c.Revision.Main < from || c.Revision.Main >= h.Next {
				t.Fatalf("piece %d to %d has a change of %v", from, h.Next, c.Revision)
			}
		}
		all = append(all, h.Changes...)
		if from = h.Next; from > h.Revision {
			return all
		}
	}
}

func same(a, b []statemachine.Change) error {
	if len(a) != len(b) {
		return fmt.Errorf("%d changes, not %d", len(a), len(b))
	}
	for i := range a {
		if len(a[i].Value) == 0 && len(b[i].Value) == 0 {
			a[i].Value, b[i].Value = nil, nil
		}
		if !reflect.DeepEqual(a[i], b[i]) {
			return fmt.Errorf("change %d is %+v, not %+v", i, a[i], b[i])
		}
	}
	return nil
}

// TestFollowedIsHistory: what the follower is told is what history says, however
// small its pieces.
func TestFollowedIsHistory(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 1))
	m, f := follow(t)
	l := newLog(t)
	for range 100 {
		var commands [][]byte
		for range 1 + rng.IntN(5) {
			commands = append(commands, randomCommand(t, rng))
		}
		apply(t, m, l.entry(commands...))
	}
	if f.to != m.Revision() || len(f.changes) < 200 {
		t.Fatalf("followed to %d of %d, %d changes", f.to, m.Revision(), len(f.changes))
	}
	for _, limits := range []statemachine.HistoryLimits{{ScanMax: 1 << 20, BytesMax: 1 << 20}, {ScanMax: 1, BytesMax: 1 << 20}, {ScanMax: 1 << 20, BytesMax: 30}} {
		if err := same(history(t, m, 2, limits), f.changes); err != nil {
			t.Errorf("limits %+v: %v", limits, err)
		}
	}
	checkPrevious(t, m, f.changes)
}

// checkPrevious compares with what the changes themselves say.
func checkPrevious(t *testing.T, m *statemachine.Machine, changes []statemachine.Change) {
	t.Helper()
	got, err := m.Previous(changes)
	if err != nil {
		t.Fatal(err)
	}
	type version struct {
		main   int64
		change *statemachine.Change
	}
	newest, before := map[string]version{}, map[string]*statemachine.Change{}
	for i := range changes {
		c := &changes[i]
		key := string(c.Key)
		// What a revision did itself is not what was before it.
		if n, ok := newest[key]; ok && n.main < c.Revision.Main {
			before[key] = n.change
		}
		newest[key] = version{c.Revision.Main, c}
		want := before[key]
		if want != nil && (want.Deleted || c.Creates()) {
			want = nil
		}
		switch {
		case (want == nil) != (got[i] == nil):
			t.Errorf("change %v of %s: previous %+v, want %+v", c.Revision, key, got[i], want)
		case want != nil && (got[i].Revision != want.Revision || string(got[i].Value) != string(want.Value)):
			t.Errorf("change %v of %s: previous %v, want %v", c.Revision, key, got[i].Revision, want.Revision)
		}
	}
}

func TestHistoryBehindCompaction(t *testing.T) {
	m, f := follow(t)
	l := newLog(t)
	put := func(key, value string) []byte {
		return request(t, &pb.PutRequest{Key: []byte(key), Value: []byte(value)})
	}
	apply(t, m, l.entry(put("a", "1"), put("b", "1"), put("a", "2"), // 2 3 4
		request(t, &pb.DeleteRangeRequest{Key: []byte("b")}), put("a", "3"))) // 5 6
	f.changes = nil
	apply(t, m, l.entry(request(t, &pb.CompactionRequest{Revision: 5})))
	for more := true; more; {
		var err error
		if more, _, err = m.SweepStep(1); err != nil {
			t.Fatal(err)
		}
	}
	limits := statemachine.HistoryLimits{ScanMax: 100, BytesMax: 1 << 20}
	if h, err := m.History(4, limits, nil); !errors.Is(err, statemachine.ErrCompacted) || h.Compacted != 5 || len(h.Changes) > 0 {
		t.Errorf("below the compaction: %+v, %v", h, err)
	}
	// The deletion at the compacted revision itself is still told.
	got := history(t, m, 5, limits)
	if len(got) != 2 || !got[0].Deleted || string(got[0].Key) != "b" || string(got[1].Value) != "3" {
		t.Errorf("from the compaction: %+v", got)
	}
	previous, err := m.Previous(got)
	if err != nil || previous[0] != nil || previous[1] == nil || string(previous[1].Value) != "2" {
		t.Errorf("previous: %+v, %v", previous, err)
	}
	if h, err := m.History(2, limits, func([]byte) bool { return false }); err == nil || len(h.Changes) > 0 {
		t.Errorf("%+v, %v", h, err)
	}
	h, err := m.History(5, limits, func(key []byte) bool { return string(key) == "a" })
	if err != nil || len(h.Changes) != 1 || string(h.Changes[0].Key) != "a" || h.Next != 7 {
		t.Errorf("of one key: %+v, %v", h, err)
	}
}

// TestFollowerSkips: nothing is collected that nobody wants, and an installed
// snapshot is told as one step.
func TestFollowerSkips(t *testing.T) {
	m, f := follow(t)
	l := newLog(t)
	put := request(t, &pb.PutRequest{Key: []byte("a"), Value: []byte("1")})
	f.wants = false
	apply(t, m, l.entry(put, put))
	f.wants = true
	apply(t, m, l.entry(request(t, &pb.DeleteRangeRequest{Key: []byte("nothing")})))
	if len(f.told) != 1 || f.told[0].Collected || f.told[0].From != 2 || f.told[0].To != 3 {
		t.Fatalf("told %+v", f.told)
	}
	fs := vfs.NewMem()
	ahead, leader := openAt(t, fs, "ahead"), newLog(t)
	defer closeMachine(t, ahead)
	o := options(t, fs)
	o.Follower = f
	f.to = 1
	joined, err := statemachine.Open(o)
	if err != nil {
		t.Fatal(err)
	}
	defer closeMachine(t, joined)
	f.machine, f.told = joined, nil
	for _, machine := range []*statemachine.Machine{ahead, joined} {
		if err := machine.Bootstrap(seed()); err != nil {
			t.Fatal(err)
		}
	}
	for range 5 {
		apply(t, ahead, leader.entry(put, put))
	}
	replaceFrom(t, ahead, joined, "staged")
	if len(f.told) != 1 || f.told[0].Collected || f.told[0].From != 2 || f.told[0].To != 11 {
		t.Fatalf("told %+v", f.told)
	}
	if got := history(t, joined, 2, statemachine.HistoryLimits{ScanMax: 3, BytesMax: 1 << 20}); len(got) != 10 {
		t.Errorf("history behind the snapshot: %d changes", len(got))
	}
}
