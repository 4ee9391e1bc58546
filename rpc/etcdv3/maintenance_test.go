package etcdv3_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"raftkv/rpc/etcdv3"
	"raftkv/rpc/request"
	"raftkv/rpc/rpctest"
	"raftkv/statemachine"
	"raftkv/statemachine/envelope"
)

func TestAlarm(t *testing.T) {
	m := rpctest.New()
	s := etcdv3.New(rpctest.Gate(t, m, request.AllowAll{}, request.Config{}), m).Maintenance
	noSpace := &pb.AlarmMember{MemberID: 1, Alarm: pb.AlarmType_NOSPACE}
	m.Switch(rpctest.Switches{Alarms: []*pb.AlarmMember{noSpace, {MemberID: 2, Alarm: pb.AlarmType_CORRUPT}}})
	for typ, want := range map[pb.AlarmType]int{pb.AlarmType_NONE: 2, pb.AlarmType_NOSPACE: 1, pb.AlarmType_CORRUPT: 1} {
		resp, err := s.Alarm(t.Context(), &pb.AlarmRequest{Alarm: typ})
		if err != nil || len(resp.Alarms) != want {
			t.Errorf("%v: %v, %v", typ, resp, err)
		}
		checkHeader(t, "alarm", resp.GetHeader(), 1)
	}
	if m.ReadIndexes() != 3 || len(m.Commands()) != 0 {
		t.Errorf("%d barriers, %d proposals", m.ReadIndexes(), len(m.Commands()))
	}
	change := &pb.AlarmRequest{Action: pb.AlarmRequest_DEACTIVATE, MemberID: 1, Alarm: pb.AlarmType_NOSPACE}
	resp, err := s.Alarm(t.Context(), change)
	if err != nil || len(resp.Alarms) != 1 || !proto.Equal(resp.Alarms[0], noSpace) {
		t.Fatalf("%v, %v", resp, err)
	}
	checkHeader(t, "alarm", resp.GetHeader(), 1)
	if commands := m.Commands(); len(commands) != 1 || commands[0].Kind != envelope.KindAlarm {
		t.Errorf("proposed %v", commands)
	}
	if _, err := s.Alarm(t.Context(), &pb.AlarmRequest{Action: 9}); status.Code(err) != codes.InvalidArgument {
		t.Errorf("unknown action: %v", err)
	}
}

func TestHashes(t *testing.T) {
	m := rpctest.New()
	s := etcdv3.New(rpctest.Gate(t, m, request.AllowAll{}, request.Config{}), m).Maintenance
	kv, err := s.HashKV(t.Context(), &pb.HashKVRequest{Revision: 1})
	if err != nil || kv.Hash != 101 || kv.HashRevision != 1 || kv.CompactRevision != 0 {
		t.Errorf("%v, %v", kv, err)
	}
	checkHeader(t, "hash kv", kv.GetHeader(), 1)
	if _, err := s.HashKV(t.Context(), &pb.HashKVRequest{Revision: 2}); !errors.Is(err, rpctypes.ErrGRPCFutureRev) {
		t.Errorf("future revision: %v", err)
	}
	all, err := s.Hash(t.Context(), &pb.HashRequest{})
	if err != nil || all.Hash != 99 {
		t.Errorf("%v, %v", all, err)
	}
	checkHeader(t, "hash", all.GetHeader(), 1)
	defragmented, err := s.Defragment(t.Context(), &pb.DefragmentRequest{})
	if err != nil || !proto.Equal(defragmented, &pb.DefragmentResponse{}) {
		t.Errorf("%v, %v", defragmented, err)
	}
	m.Switch(rpctest.Switches{Learner: true})
	if _, err := s.HashKV(t.Context(), &pb.HashKVRequest{}); !errors.Is(err, rpctypes.ErrGRPCNotSupportedForLearner) {
		t.Errorf("learner: %v", err)
	}
}

// TestPhysicalCompaction: it is answered after the sweep, also when it comes
// too late; others wait for nothing.
func TestPhysicalCompaction(t *testing.T) {
	m := rpctest.New()
	s := etcdv3.New(rpctest.Gate(t, m, request.AllowAll{}, request.Config{}), m).KV
	for range 5 {
		if _, err := s.Put(t.Context(), &pb.PutRequest{Key: []byte("a")}); err != nil {
			t.Fatal(err)
		}
	}
	compact := func(revision int64, physical bool) error {
		_, err := s.Compact(t.Context(), &pb.CompactionRequest{Revision: revision, Physical: physical})
		return err
	}
	if err := compact(2, false); err != nil || len(m.SweepsAwaited()) != 0 {
		t.Errorf("%v, awaited %v", err, m.SweepsAwaited())
	}
	if err := compact(4, true); err != nil {
		t.Error(err)
	}
	if err := compact(3, true); !errors.Is(err, rpctypes.ErrGRPCCompacted) {
		t.Error(err)
	}
	if err := compact(99, true); !errors.Is(err, rpctypes.ErrGRPCFutureRev) {
		t.Error(err)
	}
	if awaited := m.SweepsAwaited(); !slices.Equal(awaited, []int64{4, 4}) {
		t.Errorf("awaited %v", awaited)
	}
	m.Switch(rpctest.Switches{SweepErr: statemachine.ErrClosed})
	if err := compact(5, true); !errors.Is(err, rpctypes.ErrGRPCStopped) {
		t.Error(err)
	}
}

// requestContext is one that can be given a deadline, as the server's are.
type requestContext struct {
	context.Context
	bound bool
}

func (c *requestContext) Bound(time.Time, error) { c.bound = true }
func (c *requestContext) Cause() error           { return context.Cause(c.Context) }

// TestPhysicalCompactionHasNoDeadline: that of its write does not end the wait
// for the sweep.
func TestPhysicalCompactionHasNoDeadline(t *testing.T) {
	m := rpctest.New()
	s := etcdv3.New(rpctest.Gate(t, m, request.AllowAll{}, request.Config{}), m).KV
	if _, err := s.Put(t.Context(), &pb.PutRequest{Key: []byte("a")}); err != nil {
		t.Fatal(err)
	}
	ctx := &requestContext{Context: t.Context()}
	if _, err := s.Compact(ctx, &pb.CompactionRequest{Revision: 2, Physical: true}); err != nil {
		t.Fatal(err)
	}
	if ctx.bound {
		t.Error("the wait for the sweep has the deadline of the write")
	}
}

// TestSpaceIsAskedFor: for what grows, before it is proposed, by how much.
func TestSpaceIsAskedFor(t *testing.T) {
	m := rpctest.New()
	var asked []int64
	cfg := request.Config{Space: func(_ context.Context, growth int64) error {
		asked = append(asked, growth)
		return statemachine.ErrNoSpace
	}}
	s := etcdv3.New(rpctest.Gate(t, m, request.AllowAll{}, cfg), m).KV
	put := &pb.PutRequest{Key: []byte("abc"), Value: make([]byte, 100)}
	remove := &pb.DeleteRangeRequest{Key: []byte("abc")}
	if _, err := s.Put(t.Context(), put); !errors.Is(err, rpctypes.ErrGRPCNoSpace) {
		t.Error(err)
	}
	other := &pb.PutRequest{Key: []byte("d")}
	nested := &pb.RequestOp{Request: &pb.RequestOp_RequestTxn{RequestTxn: &pb.TxnRequest{Failure: []*pb.RequestOp{putOp(other)}}}}
	txn := &pb.TxnRequest{Success: []*pb.RequestOp{putOp(put), nested}, Failure: []*pb.RequestOp{putOp(put)}}
	if _, err := s.Txn(t.Context(), txn); !errors.Is(err, rpctypes.ErrGRPCNoSpace) {
		t.Error(err)
	}
	if len(m.Commands()) != 0 {
		t.Error("a write without room was proposed")
	}
	if _, err := s.DeleteRange(t.Context(), remove); err != nil {
		t.Error(err)
	}
	removing := &pb.TxnRequest{Success: []*pb.RequestOp{{Request: &pb.RequestOp_RequestDeleteRange{RequestDeleteRange: remove}}}}
	if _, err := s.Txn(t.Context(), removing); err != nil {
		t.Error(err)
	}
	if want := []int64{256 + 103, 256 + 103 + 256 + 1}; !slices.Equal(asked, want) {
		t.Errorf("asked for %v, want %v", asked, want)
	}
}
