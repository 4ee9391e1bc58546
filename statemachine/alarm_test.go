package statemachine_test

import (
	"errors"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"

	"raftkv/statemachine"
	"raftkv/statemachine/envelope"
)

func activate(member uint64, typ pb.AlarmType) *pb.AlarmRequest {
	return &pb.AlarmRequest{Action: pb.AlarmRequest_ACTIVATE, MemberID: member, Alarm: typ}
}

func deactivate(member uint64, typ pb.AlarmType) *pb.AlarmRequest {
	return &pb.AlarmRequest{Action: pb.AlarmRequest_DEACTIVATE, MemberID: member, Alarm: typ}
}

func TestAlarmsLikeEtcd(t *testing.T) {
	m, l := start(t), newLog(t)
	for i, step := range []struct {
		kind     envelope.Kind
		req      *pb.AlarmRequest
		answered int // alarms in the response
		active   int
	}{
		{envelope.KindAlarm, activate(1, pb.AlarmType_NONE), 0, 0},
		{envelope.KindAlarm, deactivate(1, pb.AlarmType_NOSPACE), 0, 0},
		{envelope.KindOwnAlarm, activate(1, pb.AlarmType_NOSPACE), 1, 1},
		{envelope.KindOwnAlarm, activate(1, pb.AlarmType_NOSPACE), 1, 1},
		{envelope.KindAlarm, activate(7, pb.AlarmType_NOSPACE), 1, 2},
		{envelope.KindAlarm, activate(1, pb.AlarmType_CORRUPT), 1, 3},
		{envelope.KindAlarm, deactivate(2, pb.AlarmType_CORRUPT), 0, 3},
		{envelope.KindAlarm, deactivate(1, pb.AlarmType_CORRUPT), 1, 2},
		// A member takes back what it activated itself, and nothing else.
		{envelope.KindOwnAlarm, deactivate(7, pb.AlarmType_NOSPACE), 0, 2},
		{envelope.KindOwnAlarm, deactivate(1, pb.AlarmType_NOSPACE), 1, 1},
		{envelope.KindAlarm, deactivate(7, pb.AlarmType_NOSPACE), 1, 0},
		{envelope.KindAlarm, &pb.AlarmRequest{Action: 9, MemberID: 1, Alarm: pb.AlarmType_CORRUPT}, 0, 0},
	} {
		result := apply(t, m, l.entry(command(t, step.kind, step.req)))[0]
		resp, ok := result.(*pb.AlarmResponse)
		if !ok || len(resp.Alarms) != step.answered {
			t.Fatalf("step %d: answered %v, want %d alarms", i, result, step.answered)
		}
		if active := m.Alarms(pb.AlarmType_NONE); len(active) != step.active {
			t.Fatalf("step %d: active are %v, want %d", i, active, step.active)
		}
	}
}

// TestAlarmsForbid: without space nothing grows, but space can be made; when
// something is corrupt nothing changes.
func TestAlarmsForbid(t *testing.T) {
	put := &pb.PutRequest{Key: []byte("a")}
	putOp := &pb.RequestOp{Request: &pb.RequestOp_RequestPut{RequestPut: put}}
	nested := &pb.RequestOp{Request: &pb.RequestOp_RequestTxn{RequestTxn: &pb.TxnRequest{Failure: []*pb.RequestOp{putOp}}}}
	remove := &pb.DeleteRangeRequest{Key: []byte("k")}
	for name, c := range map[string]struct {
		req                       proto.Message
		withoutSpace, whenCorrupt bool // allowed
	}{
		"put":                   {put, false, false},
		"txn with a put":        {&pb.TxnRequest{Failure: []*pb.RequestOp{putOp}}, false, false},
		"txn with a nested put": {&pb.TxnRequest{Success: []*pb.RequestOp{nested}}, false, false},
		"txn that deletes": {&pb.TxnRequest{Success: []*pb.RequestOp{
			{Request: &pb.RequestOp_RequestDeleteRange{RequestDeleteRange: remove}}}}, true, false},
		"delete":     {remove, true, false},
		"compaction": {&pb.CompactionRequest{Revision: 2}, true, false},
	} {
		for typ, allowed := range map[pb.AlarmType]bool{pb.AlarmType_NOSPACE: c.withoutSpace, pb.AlarmType_CORRUPT: c.whenCorrupt} {
			m, l := start(t), newLog(t)
			apply(t, m, l.entry(request(t, &pb.PutRequest{Key: []byte("k")})),
				l.entry(command(t, envelope.KindAlarm, activate(3, typ))))
			before := m.Revision()
			result := apply(t, m, l.entry(request(t, c.req)))[0]
			err, _ := result.(error)
			want := map[pb.AlarmType]error{pb.AlarmType_NOSPACE: statemachine.ErrNoSpace, pb.AlarmType_CORRUPT: statemachine.ErrCorruptAlarm}[typ]
			if allowed && err != nil || !allowed && (!errors.Is(err, want) || m.Revision() != before) {
				t.Errorf("%s with %v: %v, allowed is %t", name, typ, result, allowed)
			}
			apply(t, m, l.entry(command(t, envelope.KindAlarm, deactivate(3, typ))))
			if err, ok := apply(t, m, l.entry(request(t, put)))[0].(error); ok {
				t.Errorf("%s: after the alarm: %v", name, err)
			}
		}
	}
}

// TestAlarmsArePartOfTheState: they survive a restart, travel in snapshots and
// end with their member.
func TestAlarmsArePartOfTheState(t *testing.T) {
	fs := vfs.NewMem()
	m, l := openAt(t, fs, "m"), newLog(t)
	if err := m.Bootstrap(seed()); err != nil {
		t.Fatal(err)
	}
	apply(t, m, l.entry(command(t, envelope.KindOwnAlarm, activate(2, pb.AlarmType_NOSPACE)),
		command(t, envelope.KindAlarm, activate(2, pb.AlarmType_CORRUPT)), command(t, envelope.KindAlarm, activate(3, pb.AlarmType_NOSPACE))))
	if _, err := m.Checkpoint("copy"); err != nil {
		t.Fatal(err)
	}
	closeMachine(t, m)
	m = openAt(t, fs, "m")
	other := openAt(t, fs, "other")
	defer closeMachine(t, other)
	if err := other.Replace("copy"); err != nil {
		t.Fatal(err)
	}
	for _, machine := range []*statemachine.Machine{m, other} {
		if active := machine.Alarms(pb.AlarmType_NONE); len(active) != 3 ||
			!machine.HasOwnAlarm(2, pb.AlarmType_NOSPACE) || machine.HasOwnAlarm(3, pb.AlarmType_NOSPACE) {
			t.Errorf("active are %v", active)
		}
	}
	apply(t, m, l.change(raftpb.ConfChangeRemoveNode, &pb.Member{ID: 2}))
	if active := m.Alarms(pb.AlarmType_NONE); len(active) != 1 || active[0].MemberID != 3 {
		t.Errorf("active are %v", active)
	}
	closeMachine(t, m)
	m = openAt(t, fs, "m")
	defer closeMachine(t, m)
	if active := m.Alarms(pb.AlarmType_NONE); len(active) != 1 || m.AlarmActive(pb.AlarmType_CORRUPT) {
		t.Errorf("active after a restart are %v", active)
	}
}
