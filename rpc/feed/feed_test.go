package feed

import (
	"bytes"
	"math/rand/v2"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"google.golang.org/protobuf/proto"

	"raftkv/statemachine"
)

func randomKV(rng *rand.Rand) statemachine.KeyValue {
	kv := statemachine.KeyValue{Key: bytes.Repeat([]byte("k"), 1+rng.IntN(200)), Value: bytes.Repeat([]byte("v"), rng.IntN(300))}
	kv.Revision.Main, kv.CreateRevision, kv.Version = 1+rng.Int64N(1<<40), rng.Int64N(1<<20), rng.Int64N(300)
	if rng.IntN(2) == 0 {
		kv.Lease = -rng.Int64N(1 << 50) // ids of leases may be anything
	}
	return kv
}

func toProto(kv *statemachine.KeyValue) *mvccpb.KeyValue {
	return &mvccpb.KeyValue{Key: kv.Key, Value: kv.Value, ModRevision: kv.Revision.Main,
		CreateRevision: kv.CreateRevision, Version: kv.Version, Lease: kv.Lease}
}

// TestEncode: our encoding is read by protobuf as what was meant.
func TestEncode(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 1))
	for range 500 {
		want := &pb.WatchResponse{
			Header:  &pb.ResponseHeader{ClusterId: rng.Uint64(), MemberId: rng.Uint64(), Revision: rng.Int64N(1 << 40), RaftTerm: rng.Uint64N(9)},
			WatchId: rng.Int64N(100) - 1, Created: rng.IntN(2) == 0, Canceled: rng.IntN(2) == 0, Fragment: rng.IntN(2) == 0,
			CompactRevision: rng.Int64N(3), CancelReason: []string{"", "because"}[rng.IntN(2)],
		}
		m := &Message{WatchID: want.WatchId, Created: want.Created, Canceled: want.Canceled, Fragment: want.Fragment,
			CompactRevision: want.CompactRevision, CancelReason: want.CancelReason}
		for range rng.IntN(4) {
			c := statemachine.Change{KeyValue: randomKV(rng)}
			event := &mvccpb.Event{}
			if rng.IntN(3) == 0 {
				c = statemachine.Change{KeyValue: statemachine.KeyValue{Key: c.Key, Revision: c.Revision}, Deleted: true}
				event.Type = mvccpb.Event_DELETE
			}
			event.Kv = toProto(&c.KeyValue)
			var previous *statemachine.KeyValue
			if rng.IntN(2) == 0 {
				kv := randomKV(rng)
				previous, event.PrevKv = &kv, toProto(&kv)
			}
			want.Events = append(want.Events, event)
			m.Events = append(m.Events, NewEvent(&c, previous))
		}
		got, err := m.Response(want.Header)
		if err != nil || !proto.Equal(got, want) {
			t.Fatalf("encoded %v, want %v (%v)", got, want, err)
		}
		if size := proto.Size(want); m.Size() < size {
			t.Fatalf("Size says %d, the message has %d", m.Size(), size)
		}
	}
}

func TestFragments(t *testing.T) {
	m := &Message{WatchID: 3, Revision: 9, MaySplit: true}
	for i := range 10 {
		c := statemachine.Change{KeyValue: statemachine.KeyValue{Key: []byte("k"), Value: make([]byte, 100)}}
		c.Revision.Main = int64(i + 1)
		m.Events = append(m.Events, NewEvent(&c, nil))
	}
	split := func(bytesMax int) (pieces []*Message) {
		if err := m.Fragments(bytesMax, func(p *Message) error {
			pieces = append(pieces, p)
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		return pieces
	}
	pieces, next := split(500), int64(1)
	if len(pieces) < 3 {
		t.Fatalf("%d pieces", len(pieces))
	}
	for i, p := range pieces {
		if p.Fragment != (i < len(pieces)-1) || p.WatchID != 3 || p.Revision != 9 || p.Size() > 500 {
			t.Errorf("piece %d: %+v", i, p)
		}
		for _, e := range p.Events {
			if e.Revision != next {
				t.Errorf("event %d where %d is due", e.Revision, next)
			}
			next++
		}
	}
	if pieces := split(1); len(pieces) != 10 {
		t.Errorf("%d pieces of one event", len(pieces))
	}
	m.MaySplit = false
	if pieces := split(1); len(pieces) != 1 || pieces[0].Fragment || len(pieces[0].Events) != 10 {
		t.Errorf("divided without being asked: %d", len(pieces))
	}
}
