package kvstream_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"raftkv/node"
	"raftkv/rpc/kvstream/frames"
	"raftkv/rpc/kvstream/kvpb"
	"raftkv/rpc/request"
	"raftkv/rpc/rpctest"
	"raftkv/statemachine"
)

// stream opens a stream of frames to a member.
func stream(t *testing.T, client kvpb.NativeClient) kvpb.Native_FramesClient {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	s, err := client.Frames(ctx)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func openSession(t *testing.T, client kvpb.NativeClient) uint64 {
	t.Helper()
	opened, err := client.OpenSession(t.Context(), &kvpb.OpenSessionRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if opened.GetClusterId() != rpctest.ClusterID || opened.GetExpiresAfterMs() != uint64(rpctest.SessionTTL.Milliseconds()) {
		t.Errorf("opened %v", opened)
	}
	return opened.GetSessionId()
}

func writes(list ...frames.Write) (b []byte) {
	for i := range list {
		b = frames.AppendWrite(b, &list[i])
	}
	return b
}

func reads(keys ...string) (b []byte) {
	for _, key := range keys {
		b = frames.AppendRead(b, []byte(key))
	}
	return b
}

func exchange(t *testing.T, s kvpb.Native_FramesClient, f *kvpb.Frame) *kvpb.FrameAnswer {
	t.Helper()
	if err := s.Send(f); err != nil {
		t.Fatal(err)
	}
	a, err := s.Recv()
	if err != nil {
		t.Fatal(err)
	}
	if a.GetId() != f.GetId() || a.GetClusterId() != rpctest.ClusterID || a.GetMemberId() != rpctest.ID ||
		a.GetLeaderId() != rpctest.ID || a.GetRaftTerm() != rpctest.Term {
		t.Errorf("answer %v to frame %d", a, f.GetId())
	}
	return a
}

func results(t *testing.T, a *kvpb.FrameAnswer) (out []frames.WriteResult) {
	t.Helper()
	if a.GetCode() != 0 {
		t.Fatalf("answer %v", a)
	}
	for w := frames.NewWriteResults(a.GetWrites()); w.More(); {
		r, err := w.Next()
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, *r)
	}
	return out
}

// TestFrames: every operation of a frame is answered in its place, and the
// generated messages read what the encoder of this package writes.
func TestFrames(t *testing.T) {
	m := rpctest.New()
	m.Switch(rpctest.Switches{HoldersHave: 2, HoldersTotal: 3})
	client := serve(t, m)
	id := openSession(t, client)
	s := stream(t, client)
	txn, err := proto.Marshal(&pb.TxnRequest{Success: []*pb.RequestOp{{Request: &pb.RequestOp_RequestPut{RequestPut: &pb.PutRequest{Key: []byte("t")}}}}})
	if err != nil {
		t.Fatal(err)
	}
	// As a program would that knows the messages alone.
	encoded, err := proto.Marshal(&kvpb.Writes{Writes: []*kvpb.WriteOperation{
		{Op: &kvpb.WriteOperation_Put{Put: &kvpb.Put{Key: []byte("a"), Value: []byte("1"), Lease: 4}}},
		{Op: &kvpb.WriteOperation_Append{Append: &kvpb.Append{Key: []byte("a"), Value: []byte("23")}}},
		{Op: &kvpb.WriteOperation_Increment{Increment: &kvpb.Increment{Key: []byte("a"), Delta: -3}}},
		{Op: &kvpb.WriteOperation_CompareAndSwap{CompareAndSwap: &kvpb.CompareAndSwap{Key: []byte("a"), Value: []byte("x"),
			Expected: &kvpb.CompareAndSwap_ExpectedValue{ExpectedValue: []byte("120")}}}},
		{Op: &kvpb.WriteOperation_CompareAndSwap{CompareAndSwap: &kvpb.CompareAndSwap{Key: []byte("a"), Value: []byte("y"),
			Expected: &kvpb.CompareAndSwap_ModRevision{ModRevision: 4}}}},
		{Op: &kvpb.WriteOperation_CompareAndSwap{CompareAndSwap: &kvpb.CompareAndSwap{Key: []byte("b"), Value: []byte("y"),
			Expected: &kvpb.CompareAndSwap_ModRevision{ModRevision: 0}}}},
		{Op: &kvpb.WriteOperation_Put{Put: &kvpb.Put{}}},
		{Op: &kvpb.WriteOperation_Increment{Increment: &kvpb.Increment{Key: []byte("b"), Delta: 1}}},
		{Op: &kvpb.WriteOperation_Delete{Delete: &kvpb.Delete{Key: []byte("a"), RangeEnd: []byte("c")}}},
		{Op: &kvpb.WriteOperation_Txn{Txn: txn}},
		{Op: &kvpb.WriteOperation_Txn{Txn: []byte("no transaction")}},
	}})
	if err != nil {
		t.Fatal(err)
	}
	a := exchange(t, s, &kvpb.Frame{Id: 7, ClusterId: rpctest.ClusterID, SessionId: id, Sequence: 1, Writes: encoded, CountHolders: true})
	got := results(t, a)
	for i, want := range []frames.WriteResult{
		{Revision: 2}, {Revision: 3, Length: 3}, {Revision: 4, Value: 120}, {Revision: 5, Swapped: true, FoundRevision: 4},
		{Revision: 5, FoundRevision: 5}, {Revision: 6, Swapped: true}, {Revision: 6, Refusal: int32(kvpb.Refusal_EMPTY_KEY)},
		{Revision: 6, Refusal: int32(kvpb.Refusal_NOT_NUMBER)}, {Revision: 7, Deleted: 2}, {Revision: 8},
		{Revision: 8, Refusal: int32(kvpb.Refusal_INVALID_TXN)},
	} {
		txn := got[i].Txn
		got[i].Txn = nil
		if fmt.Sprint(got[i]) != fmt.Sprint(want) {
			t.Errorf("write %d: %+v, want %+v", i, got[i], want)
		}
		if resp := (&pb.TxnResponse{}); (len(txn) > 0) != (i == 9) || proto.Unmarshal(txn, resp) != nil {
			t.Errorf("write %d: transaction %x", i, txn)
		}
	}
	if a.GetHolders() != 2 || a.GetMembers() != 3 || a.GetIndex() == 0 {
		t.Errorf("answer %v", a)
	}
	decoded := &kvpb.WriteResults{}
	if err := proto.Unmarshal(a.GetWrites(), decoded); err != nil || len(decoded.GetResults()) != 11 || decoded.GetResults()[2].GetValue() != 120 {
		t.Errorf("results as messages: %v, %v", decoded, err)
	}

	// The same once more: the recorded answer, and nothing is applied.
	before := m.Revision()
	again := exchange(t, s, &kvpb.Frame{Id: 8, SessionId: id, Sequence: 1, Writes: encoded})
	if string(again.GetWrites()) != string(a.GetWrites()) || m.Revision() != before {
		t.Errorf("answered again: %v", again)
	}
}

func TestFrameReads(t *testing.T) {
	m := rpctest.New()
	client := serve(t, m)
	s := stream(t, client)
	results(t, exchange(t, s, &kvpb.Frame{Id: 1, Writes: writes(
		frames.Write{Op: frames.Put, Key: []byte("a"), Value: []byte("one"), Lease: 9},
		frames.Write{Op: frames.Put, Key: []byte("large"), Value: make([]byte, 1<<20)})}))
	for _, serializable := range []bool{false, true} {
		rounds := m.ReadIndexes()
		a := exchange(t, s, &kvpb.Frame{Id: 2, Reads: reads("a", "missing", ""), Serializable: serializable})
		if n := m.ReadIndexes() - rounds; n != map[bool]int{false: 1, true: 0}[serializable] {
			t.Errorf("serializable %t: %d rounds", serializable, n)
		}
		got := &kvpb.ReadResults{}
		if err := proto.Unmarshal(a.GetReads(), got); err != nil {
			t.Fatal(err)
		}
		want := &kvpb.ReadResults{Results: []*kvpb.ReadResult{
			{Value: []byte("one"), CreateRevision: 2, ModRevision: 2, Version: 1, Lease: 9}, {}, {Refusal: kvpb.Refusal_EMPTY_KEY}}}
		if !proto.Equal(got, want) || a.GetRevision() != 3 {
			t.Errorf("read %v at %d", got, a.GetRevision())
		}
	}
	// A learner serves what needs no quorum.
	m.Switch(rpctest.Switches{Learner: true})
	if a := exchange(t, s, &kvpb.Frame{Id: 3, Reads: reads("a"), Serializable: true}); a.GetCode() != 0 {
		t.Errorf("a learner's answer: %v", a)
	}
	if a := exchange(t, s, &kvpb.Frame{Id: 4, Reads: reads("a")}); codes.Code(a.GetCode()) != codes.FailedPrecondition {
		t.Errorf("a learner's answer: %v", a)
	}
	m.Switch(rpctest.Switches{})
	a := exchange(t, s, &kvpb.Frame{Id: 5, Reads: reads("large", "large", "large", "large", "a", "large")})
	var refused []int32
	var r frames.ReadResult
	for rest := a.GetReads(); len(rest) > 0; {
		var err error
		if rest, err = frames.NextReadResult(rest, &r); err != nil {
			t.Fatal(err)
		}
		refused = append(refused, r.Refusal)
	}
	if fmt.Sprint(refused) != "[0 0 0 100 0 100]" {
		t.Errorf("refused %v", refused)
	}
}

func TestFrameRefusals(t *testing.T) {
	put := writes(frames.Write{Op: frames.Put, Key: []byte("k")})
	many := func(one []byte, n int) []byte { return []byte(strings.Repeat(string(one), n)) }
	for _, tc := range []struct {
		name     string
		frame    *kvpb.Frame
		switches rpctest.Switches
		code     codes.Code
		text     string
	}{
		{"nothing", &kvpb.Frame{}, rpctest.Switches{}, codes.InvalidArgument, "neither writes nor reads"},
		{"no sequence", &kvpb.Frame{SessionId: 1, Writes: put}, rpctest.Switches{}, codes.InvalidArgument, "sequence number from 1"},
		{"no session", &kvpb.Frame{Sequence: 1, Writes: put}, rpctest.Switches{}, codes.InvalidArgument, "sequence number from 1"},
		{"unknown session", &kvpb.Frame{SessionId: 99, Sequence: 1, Writes: put}, rpctest.Switches{}, codes.NotFound, "session not found"},
		{"gap", &kvpb.Frame{SessionId: 2, Sequence: 5, Writes: put}, rpctest.Switches{}, codes.OutOfRange, "leaves a gap"},
		{"foreign cluster", &kvpb.Frame{ClusterId: 5, SessionId: 2, Sequence: 1, Writes: put}, rpctest.Switches{}, codes.FailedPrecondition, "session belongs to cluster 5"},
		{"malformed", &kvpb.Frame{Writes: []byte{10, 2, 58, 0}}, rpctest.Switches{}, codes.InvalidArgument, "write 0 of the frame"},
		{"a refusal", &kvpb.Frame{Writes: []byte{10, 2, 120, 8}}, rpctest.Switches{}, codes.InvalidArgument, "cannot refuse"},
		{"malformed reads", &kvpb.Frame{Reads: []byte{9}}, rpctest.Switches{}, codes.InvalidArgument, "read 0 of the frame"},
		{"too many writes", &kvpb.Frame{Writes: many(put, 4097)}, rpctest.Switches{}, codes.InvalidArgument, "more than 4096 writes"},
		{"too many reads", &kvpb.Frame{Reads: many(reads("k"), 4097)}, rpctest.Switches{}, codes.InvalidArgument, "more than 4096 reads"},
		{"too large", &kvpb.Frame{Writes: writes(frames.Write{Op: frames.Append, Key: []byte("k"), Value: make([]byte, 3<<19)})}, rpctest.Switches{},
			codes.InvalidArgument, "at most 1572864 are allowed"},
		{"busy", &kvpb.Frame{Writes: put}, rpctest.Switches{ProposeErr: node.ErrBusy}, codes.ResourceExhausted, "too many requests"},
		{"unknown outcome", &kvpb.Frame{Writes: put}, rpctest.Switches{ProposeErr: node.ErrUnknownOutcome}, codes.Unavailable, "request timed out"},
		{"not yet", &kvpb.Frame{Writes: put}, rpctest.Switches{Refuse: statemachine.ErrNotYet}, codes.FailedPrecondition, "cluster version"},
		{"past", &kvpb.Frame{Writes: put}, rpctest.Switches{Refuse: statemachine.ErrSequencePast}, codes.FailedPrecondition, "sequence number is past"},
		{"no read index", &kvpb.Frame{Reads: reads("k")}, rpctest.Switches{ReadIndexErr: node.ErrNoLeader}, codes.Unavailable, "no leader"},
	} {
		m := rpctest.New()
		client := serve(t, m)
		if id := openSession(t, client); id != 2 {
			t.Fatalf("opened %d", id)
		}
		m.Switch(tc.switches)
		a := exchange(t, stream(t, client), tc.frame)
		if codes.Code(a.GetCode()) != tc.code || !strings.Contains(a.GetMessage(), tc.text) {
			t.Errorf("%s: %v", tc.name, a)
		}
		if m.Revision() != 1 {
			t.Errorf("%s: something was applied", tc.name)
		}
	}
}

// deny lets nobody touch keys that begin with "secret".
type deny struct{ request.AllowAll }

func (deny) Authorize(_ request.Identity, op request.Operation) error {
	if strings.HasPrefix(string(op.Key), "secret") {
		return statemachine.ErrDenied
	}
	return nil
}

// TestFrameAuthorisation: what is denied is answered in its place, and does not
// get into the log.
func TestFrameAuthorisation(t *testing.T) {
	m := rpctest.New()
	full := errors.New("no room was asked for")
	gate := rpctest.Gate(t, m, deny{}, request.Config{Space: func(context.Context, int64) error { return full }})
	s := stream(t, serveGate(t, m, gate))
	txn, err := proto.Marshal(&pb.TxnRequest{Failure: []*pb.RequestOp{{Request: &pb.RequestOp_RequestPut{RequestPut: &pb.PutRequest{Key: []byte("secret")}}}}})
	if err != nil {
		t.Fatal(err)
	}
	secret, open := []byte("secret of somebody"), []byte("open")
	everything := writes(frames.Write{Op: frames.Put, Key: open}, frames.Write{Op: frames.Put, Key: secret}, frames.Write{Op: frames.Append, Key: secret},
		frames.Write{Op: frames.Delete, Key: secret}, frames.Write{Op: frames.Delete, Key: open}, frames.Write{Op: frames.Increment, Key: secret},
		frames.Write{Op: frames.CompareAndSwap, Key: secret}, frames.Write{Op: frames.Txn, Txn: txn}, frames.Write{Op: frames.Increment, Key: open})
	for _, step := range []struct {
		space error
		want  string
	}{{nil, "[0 19 19 19 0 19 19 19 0]"}, {statemachine.ErrNoSpace, "[8 19 19 19 0 19 19 19 8]"}} {
		full = step.space
		var refused []int32
		for _, r := range results(t, exchange(t, s, &kvpb.Frame{Writes: everything, Reads: reads("open", "secret")})) {
			refused = append(refused, r.Refusal)
		}
		if fmt.Sprint(refused) != step.want {
			t.Errorf("refused %v, want %s", refused, step.want)
		}
	}
	for _, c := range m.Commands() {
		if strings.Contains(string(c.Body), "secret") {
			t.Errorf("proposed %q", c.Body)
		}
	}
	a := exchange(t, s, &kvpb.Frame{Reads: reads("secret")})
	got := &kvpb.ReadResults{}
	if err := proto.Unmarshal(a.GetReads(), got); err != nil || got.GetResults()[0].GetRefusal() != kvpb.Refusal_PERMISSION_DENIED {
		t.Errorf("read %v, %v", got, err)
	}
}

// TestFramesInFlight: what a stream has in flight is bounded, and ends with it.
func TestFramesInFlight(t *testing.T) {
	m := rpctest.New()
	m.Switch(rpctest.Switches{BlockPropose: true})
	client := serve(t, m)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	s, err := client.Frames(ctx)
	if err != nil {
		t.Fatal(err)
	}
	large := writes(frames.Write{Op: frames.Put, Key: []byte("k"), Value: make([]byte, 1<<10)})
	for i := range 100 {
		if err := s.Send(&kvpb.Frame{Id: uint64(i), Writes: large}); err != nil {
			t.Fatal(err)
		}
	}
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for m.Enqueued() < 64 { // the test's own deadline ends it
		<-tick.C
	}
	// A frame of another stream passes those that wait: bounds are the stream's.
	other := stream(t, client)
	if a := exchange(t, other, &kvpb.Frame{Id: 1, Reads: reads("k")}); a.GetCode() != 0 {
		t.Errorf("answer %v", a)
	}
	if n := m.Enqueued(); n != 64 {
		t.Errorf("%d frames were begun", n)
	}
	cancel()
	if _, err := s.Recv(); status.Code(err) != codes.Canceled {
		t.Errorf("after the end: %v", err)
	}
}

// TestFramesEnd: a client that is done gets its answers; a member that stops
// ends the stream.
func TestFramesEnd(t *testing.T) {
	m := rpctest.New()
	client := serve(t, m)
	s := stream(t, client)
	if err := s.Send(&kvpb.Frame{Id: 1, Reads: reads("k")}); err != nil {
		t.Fatal(err)
	}
	if err := s.CloseSend(); err != nil {
		t.Fatal(err)
	}
	if a, err := s.Recv(); err != nil || a.GetId() != 1 {
		t.Errorf("answer %v, %v", a, err)
	}
	if _, err := s.Recv(); !errors.Is(err, io.EOF) {
		t.Errorf("end: %v", err)
	}
	stopping := make(chan struct{})
	m.Switch(rpctest.Switches{Stopping: stopping})
	s = stream(t, client)
	exchange(t, s, &kvpb.Frame{Id: 2, Reads: reads("k")})
	close(stopping)
	if _, err := s.Recv(); status.Code(err) != codes.Unavailable {
		t.Errorf("the member stopped: %v", err)
	}
}

func TestCloseSession(t *testing.T) {
	client := serve(t, rpctest.New())
	id := openSession(t, client)
	if _, err := client.CloseSession(t.Context(), &kvpb.CloseSessionRequest{ClusterId: 5, SessionId: id}); status.Code(err) != codes.FailedPrecondition {
		t.Errorf("of another cluster: %v", err)
	}
	if _, err := client.CloseSession(t.Context(), &kvpb.CloseSessionRequest{ClusterId: rpctest.ClusterID, SessionId: id}); err != nil {
		t.Error(err)
	}
	if _, err := client.CloseSession(t.Context(), &kvpb.CloseSessionRequest{SessionId: id}); status.Code(err) != codes.NotFound {
		t.Errorf("closed twice: %v", err)
	}
}
