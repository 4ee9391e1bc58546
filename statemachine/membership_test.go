package statemachine_test

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"

	"raftkv/statemachine"
	"raftkv/statemachine/envelope"
)

// member is a record with the peer URL that the tests give to an id.
func member(id uint64) *pb.Member {
	return &pb.Member{ID: id, PeerURLs: []string{fmt.Sprintf("http://m%d:1", id)}}
}

func TestMembershipChanges(t *testing.T) {
	const (
		voter   = raftpb.ConfChangeAddNode
		learner = raftpb.ConfChangeAddLearnerNode
		remove  = raftpb.ConfChangeRemoveNode
		update  = raftpb.ConfChangeUpdateNode
	)
	m, l := start(t), newLog(t)
	for i, step := range []struct {
		typ              raftpb.ConfChangeType
		member           *pb.Member
		want             any // error or response
		voters, learners []uint64
	}{
		{voter, member(4), &pb.MemberAddResponse{}, []uint64{1, 2, 3, 4}, nil},
		{voter, member(4), statemachine.ErrMemberExists, []uint64{1, 2, 3, 4}, nil},
		{learner, member(4), statemachine.ErrMemberExists, []uint64{1, 2, 3, 4}, nil},
		{learner, member(5), &pb.MemberAddResponse{}, []uint64{1, 2, 3, 4}, []uint64{5}},
		{voter, &pb.Member{ID: 5}, &pb.MemberPromoteResponse{}, []uint64{1, 2, 3, 4, 5}, nil},
		{voter, &pb.Member{ID: 5}, statemachine.ErrMemberNotLearner, []uint64{1, 2, 3, 4, 5}, nil},
		{voter, &pb.Member{ID: 6}, statemachine.ErrMemberNotFound, []uint64{1, 2, 3, 4, 5}, nil},
		{learner, &pb.Member{ID: 6}, statemachine.ErrMemberChangeRefused, []uint64{1, 2, 3, 4, 5}, nil},
		{learner, &pb.Member{ID: 6, PeerURLs: []string{"http://m5:1"}}, statemachine.ErrPeerURLExists, []uint64{1, 2, 3, 4, 5}, nil},
		{remove, &pb.Member{ID: 9}, statemachine.ErrMemberNotFound, []uint64{1, 2, 3, 4, 5}, nil},
		{remove, &pb.Member{ID: 4}, &pb.MemberRemoveResponse{}, []uint64{1, 2, 3, 5}, nil},
		{remove, &pb.Member{ID: 4}, statemachine.ErrMemberRemoved, []uint64{1, 2, 3, 5}, nil},
		{learner, member(4), statemachine.ErrMemberRemoved, []uint64{1, 2, 3, 5}, nil},
		{voter, &pb.Member{ID: 4}, statemachine.ErrMemberRemoved, []uint64{1, 2, 3, 5}, nil},
		{update, &pb.Member{ID: 5, PeerURLs: []string{"http://other:1"}}, &pb.MemberUpdateResponse{}, []uint64{1, 2, 3, 5}, nil},
		{update, &pb.Member{ID: 5}, statemachine.ErrMemberChangeRefused, []uint64{1, 2, 3, 5}, nil},
		{update, &pb.Member{ID: 5, PeerURLs: []string{"http://a:1"}}, statemachine.ErrPeerURLExists, []uint64{1, 2, 3, 5}, nil},
		{remove, &pb.Member{ID: 1}, &pb.MemberRemoveResponse{}, []uint64{2, 3, 5}, nil},
		{remove, &pb.Member{ID: 2}, &pb.MemberRemoveResponse{}, []uint64{3, 5}, nil},
		{remove, &pb.Member{ID: 3}, &pb.MemberRemoveResponse{}, []uint64{5}, nil},
		{remove, &pb.Member{ID: 5}, statemachine.ErrMemberChangeRefused, []uint64{5}, nil}, // the last one
	} {
		var result any
		conf, err := m.Apply([]*raftpb.Entry{l.change(step.typ, step.member)},
			func(_, _, _, _ uint64, results []any) { result = results[0] })
		if err != nil {
			t.Fatal(err)
		}
		wantErr, refused := step.want.(error)
		gotErr, _ := result.(error)
		if !errors.Is(gotErr, wantErr) || (!refused && fmt.Sprintf("%T", result) != fmt.Sprintf("%T", step.want)) {
			t.Fatalf("step %d: result %v (%T), want %v (%T)", i, result, result, step.want, step.want)
		}
		if (conf == nil) != refused {
			t.Fatalf("step %d: conf %v", i, conf)
		}
		now := m.ConfState()
		if !slices.Equal(now.GetVoters(), step.voters) || !slices.Equal(now.GetLearners(), step.learners) {
			t.Fatalf("step %d: configuration %v", i, now)
		}
		if !refused && !proto.Equal(conf, now) {
			t.Fatalf("step %d: returned %v, recorded %v", i, conf, now)
		}
		compareTable(t, m)
	}
	if got := m.RemovedMembers(); !slices.Equal(got, []uint64{1, 2, 3, 4}) {
		t.Errorf("removed %v", got)
	}
	if got := m.Members(); len(got) != 1 || got[0].PeerURLs[0] != "http://other:1" {
		t.Errorf("members %+v", got)
	}
}

// compareTable: the members table says what the configuration says.
func compareTable(t *testing.T, m *statemachine.Machine) {
	t.Helper()
	var voters, learners []uint64
	for _, member := range m.Members() {
		if member.IsLearner {
			learners = append(learners, member.ID)
		} else {
			voters = append(voters, member.ID)
		}
	}
	conf := m.ConfState()
	if !slices.Equal(voters, conf.GetVoters()) || !slices.Equal(learners, conf.GetLearners()) {
		t.Fatalf("members %v and %v, configuration %v", voters, learners, conf)
	}
}

// TestOddConfigurationChanges: what our own code never proposes is refused or
// fatal, never half done.
func TestOddConfigurationChanges(t *testing.T) {
	context := func(t *testing.T, l *logWriter, m *pb.Member) []byte {
		l.batch++
		return envelope.Pack(envelope.Envelope{Proposer: proposer, Boot: 1, Batch: l.batch},
			[][]byte{command(t, envelope.KindMemberChange, m)})
	}
	entry := func(t *testing.T, l *logWriter, cc raftpb.ConfChangeI) *raftpb.Entry {
		typ, data, err := raftpb.MarshalConfChange(cc)
		if err != nil {
			t.Fatal(err)
		}
		e := l.raw(data)
		e.Type = &typ
		return e
	}
	add := raftpb.ConfChangeAddNode
	single := func(id uint64) *raftpb.ConfChangeSingle {
		return &raftpb.ConfChangeSingle{Type: &add, NodeId: &id}
	}
	t.Run("first version", func(t *testing.T) {
		m, l := start(t), newLog(t)
		cc := &raftpb.ConfChange{Type: &add, NodeId: new(uint64(4)), Context: context(t, l, member(4))}
		conf, err := m.Apply([]*raftpb.Entry{entry(t, l, cc)}, func(_, _, _, _ uint64, _ []any) {})
		if err != nil || len(conf.GetVoters()) != 4 {
			t.Fatalf("%v, %v", conf, err)
		}
	})
	t.Run("joint", func(t *testing.T) {
		m, l := start(t), newLog(t)
		cc := &raftpb.ConfChangeV2{Changes: []*raftpb.ConfChangeSingle{single(4), single(5)}, Context: context(t, l, member(4))}
		if err, _ := apply(t, m, entry(t, l, cc))[0].(error); !errors.Is(err, statemachine.ErrMemberChangeRefused) {
			t.Fatal(err)
		}
		compareTable(t, m)
	})
	t.Run("another member described", func(t *testing.T) {
		m, l := start(t), newLog(t)
		cc := &raftpb.ConfChangeV2{Changes: []*raftpb.ConfChangeSingle{single(4)}, Context: context(t, l, member(5))}
		if err, _ := apply(t, m, entry(t, l, cc))[0].(error); !errors.Is(err, statemachine.ErrMemberChangeRefused) {
			t.Fatal(err)
		}
	})
	t.Run("no context", func(t *testing.T) {
		m, l := start(t), newLog(t)
		for _, cc := range []raftpb.ConfChangeI{nil, &raftpb.ConfChangeV2{Changes: []*raftpb.ConfChangeSingle{single(4)}}} {
			conf, err := m.Apply([]*raftpb.Entry{entry(t, l, cc)}, func(_, _, _, _ uint64, _ []any) { t.Error("answered") })
			if err != nil || conf != nil {
				t.Fatalf("%v, %v", conf, err)
			}
		}
		compareTable(t, m)
	})
	t.Run("applied twice", func(t *testing.T) {
		m, l := start(t), newLog(t)
		apply(t, m, l.change(add, member(4)))
		l.batch--
		conf, err := m.Apply([]*raftpb.Entry{l.change(add, member(4))}, func(_, _, _, _ uint64, _ []any) { t.Error("answered") })
		if err != nil || conf != nil {
			t.Fatalf("%v, %v", conf, err)
		}
	})
	t.Run("not last", func(t *testing.T) {
		m, l := start(t), newLog(t)
		_, err := m.Apply([]*raftpb.Entry{l.change(add, member(4)), l.raw(nil)}, nil)
		if !errors.Is(err, statemachine.ErrOutOfOrder) {
			t.Fatal(err)
		}
	})
	t.Run("garbage", func(t *testing.T) {
		m, l := start(t), newLog(t)
		e := l.raw([]byte{0xff})
		e.Type = raftpb.EntryConfChangeV2.Enum()
		if _, err := m.Apply([]*raftpb.Entry{e}, nil); !errors.Is(err, statemachine.ErrMalformedEntry) {
			t.Fatal(err)
		}
	})
}
