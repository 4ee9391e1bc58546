package statemachine_test

import (
	"errors"
	"slices"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/raft/v3/raftpb"

	"raftkv/statemachine"
	"raftkv/statemachine/envelope"
)

func publish(t testing.TB, p envelope.PublishMember) []byte {
	t.Helper()
	body, err := p.Encode()
	if err != nil {
		t.Fatal(err)
	}
	return envelope.EncodeCommand(envelope.Command{Kind: envelope.KindPublishMember, Body: body})
}

func TestPublishMember(t *testing.T) {
	m, l := start(t), newLog(t)
	publishAs := func(id uint64) any {
		return apply(t, m, l.entry(publish(t, envelope.PublishMember{ID: id, Name: "two", ClientURLs: []string{"http://b:2"}})))[0]
	}
	if err, _ := publishAs(9).(error); !errors.Is(err, statemachine.ErrMemberNotFound) {
		t.Fatal(err)
	}
	if resp, ok := publishAs(2).(*pb.MemberListResponse); !ok || len(resp.Members) != 3 {
		t.Fatalf("%v", resp)
	}
	got := m.Members()[1]
	if got.Name != "two" || !slices.Equal(got.ClientURLs, []string{"http://b:2"}) || !slices.Equal(got.PeerURLs, []string{"http://b:1"}) {
		t.Fatalf("member %+v", got)
	}
	got.PeerURLs[0] = "changed by the caller"
	if m.Members()[1].PeerURLs[0] != "http://b:1" {
		t.Error("Members hands out its own memory")
	}
}

// TestIncarnation: the first one that is published stays, whatever else
// changes of the member, and through a restart; a refused publish changes
// nothing.
func TestIncarnation(t *testing.T) {
	const mine, other = 1 << 63, 7
	fs := vfs.NewMem()
	m, l := open(t, fs), newLog(t)
	if err := m.Bootstrap(seed()); err != nil {
		t.Fatal(err)
	}
	apply(t, m, l.change(raftpb.ConfChangeAddLearnerNode, member(4)))
	for i, step := range []struct {
		incarnation uint64
		name, after string
		want        error
		known       uint64
	}{
		{0, "unknown", "unknown", nil, 0},
		{mine, "first", "first", nil, mine},
		{other, "copy", "first", statemachine.ErrOtherIncarnation, mine},
		{0, "unknown", "first", statemachine.ErrOtherIncarnation, mine},
		{mine, "renamed", "renamed", nil, mine},
	} {
		result := apply(t, m, l.entry(publish(t, envelope.PublishMember{ID: 4, Name: step.name, Incarnation: step.incarnation})))[0]
		if err, _ := result.(error); !errors.Is(err, step.want) {
			t.Fatalf("step %d: %v, want %v", i, result, step.want)
		}
		if got := m.Members()[3]; got.Incarnation != step.known || got.Name != step.after {
			t.Fatalf("step %d: member %+v", i, got)
		}
	}
	apply(t, m, l.change(raftpb.ConfChangeUpdateNode, &pb.Member{ID: 4, PeerURLs: []string{"http://moved:1"}}))
	apply(t, m, l.change(raftpb.ConfChangeAddNode, &pb.Member{ID: 4})) // promoted
	closeMachine(t, m)
	m = open(t, fs)
	defer closeMachine(t, m)
	if got := m.Members()[3]; got.Incarnation != mine || got.IsLearner || got.PeerURLs[0] != "http://moved:1" {
		t.Fatalf("member %+v", got)
	}
}
