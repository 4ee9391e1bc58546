package kvstream_test

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"raftkv/node"
	"raftkv/rpc/kvstream"
	"raftkv/rpc/kvstream/kvpb"
	"raftkv/rpc/listen"
	"raftkv/rpc/request"
	"raftkv/rpc/rpctest"
	"raftkv/statemachine"
	"raftkv/statemachine/envelope"
)

func serve(t *testing.T, m *rpctest.Member) kvpb.NativeClient {
	t.Helper()
	return serveGate(t, m, rpctest.Gate(t, m, request.AllowAll{}, request.Config{}))
}

func serveGate(t *testing.T, m *rpctest.Member, gate *request.Gate) kvpb.NativeClient {
	t.Helper()
	service := kvstream.New(gate, m)
	return kvpb.NewNativeClient(rpctest.Serve(t, listen.GRPCConfig{}, func(r grpc.ServiceRegistrar) { kvstream.Register(r, service) }))
}

func put(key, value string) *kvpb.WriteRequest {
	return &kvpb.WriteRequest{Op: &kvpb.WriteRequest_Put{Put: &kvpb.Put{Key: []byte(key), Value: []byte(value), Lease: 4}}}
}

func add(key, value string) *kvpb.WriteRequest {
	return &kvpb.WriteRequest{Op: &kvpb.WriteRequest_Append{Append: &kvpb.Append{Key: []byte(key), Value: []byte(value)}}}
}

func del(key, end string) *kvpb.WriteRequest {
	return &kvpb.WriteRequest{Op: &kvpb.WriteRequest_Delete{Delete: &kvpb.Delete{Key: []byte(key), RangeEnd: []byte(end)}}}
}

func TestWrite(t *testing.T) {
	m := rpctest.New()
	client := serve(t, m)
	for i, tc := range []struct {
		req  *kvpb.WriteRequest
		kind envelope.Kind
		want *kvpb.WriteResponse
	}{
		{put("a", "one"), envelope.KindPut, &kvpb.WriteResponse{Revision: 2, Index: 2}},
		{add("a", ",two"), envelope.KindAppend, &kvpb.WriteResponse{Revision: 3, Index: 3, Length: 7}},
		{add("b", "x"), envelope.KindAppend, &kvpb.WriteResponse{Revision: 4, Index: 4, Length: 1}},
		{del("a", "z"), envelope.KindDeleteRange, &kvpb.WriteResponse{Revision: 5, Index: 5, Deleted: 2}},
	} {
		got, err := client.Write(context.Background(), tc.req)
		if err != nil {
			t.Fatal(err)
		}
		tc.want.ClusterId, tc.want.MemberId, tc.want.RaftTerm = rpctest.ClusterID, rpctest.ID, rpctest.Term
		if !proto.Equal(got, tc.want) {
			t.Errorf("%v: %v, want %v", tc.req, got, tc.want)
		}
		if kind := m.Commands()[i].Kind; kind != tc.kind {
			t.Errorf("%v was proposed as kind %d", tc.req, kind)
		}
	}
	if n := len(m.HoldersFor()); n != 0 {
		t.Errorf("holders were counted %d times, unasked", n)
	}
}

func TestHolders(t *testing.T) {
	for _, tc := range []struct {
		switches         rpctest.Switches
		holders, members uint32
	}{
		{rpctest.Switches{HoldersHave: 3, HoldersTotal: 3}, 3, 3},
		{rpctest.Switches{HoldersHave: 2, HoldersTotal: 3}, 2, 3},
		{rpctest.Switches{HoldersErr: errors.New("the leader has gone")}, 0, 0},
	} {
		m := rpctest.New()
		m.Switch(tc.switches)
		req := put("k", "v")
		req.CountHolders = true
		got, err := serve(t, m).Write(context.Background(), req)
		if err != nil || got.GetHolders() != tc.holders || got.GetMembers() != tc.members {
			t.Errorf("%+v: %v, %v", tc.switches, got, err)
		}
		if asked := m.HoldersFor(); len(asked) != 1 || asked[0] != got.GetIndex() {
			t.Errorf("holders were asked of %v, want of index %d", asked, got.GetIndex())
		}
	}
}

func TestRefusals(t *testing.T) {
	for _, tc := range []struct {
		name     string
		req      *kvpb.WriteRequest
		switches rpctest.Switches
		code     codes.Code
		text     string
	}{
		{"no operation", &kvpb.WriteRequest{}, rpctest.Switches{}, codes.InvalidArgument, "names no operation"},
		{"put without key", put("", "v"), rpctest.Switches{}, codes.InvalidArgument, rpctypes.ErrorDesc(rpctypes.ErrGRPCEmptyKey)},
		{"append without key", add("", "v"), rpctest.Switches{}, codes.InvalidArgument, rpctypes.ErrorDesc(rpctypes.ErrGRPCEmptyKey)},
		{"delete without key", del("", "z"), rpctest.Switches{}, codes.InvalidArgument, rpctypes.ErrorDesc(rpctypes.ErrGRPCEmptyKey)},
		{"too large", add("k", strings.Repeat("v", 3<<19)), rpctest.Switches{}, codes.InvalidArgument, rpctypes.ErrorDesc(rpctypes.ErrGRPCRequestTooLarge)},
		{"learner", put("k", "v"), rpctest.Switches{Learner: true}, codes.FailedPrecondition, "learner"},
		{"busy", put("k", "v"), rpctest.Switches{ProposeErr: node.ErrBusy}, codes.ResourceExhausted, "too many requests"},
		{"unknown outcome", put("k", "v"), rpctest.Switches{ProposeErr: node.ErrUnknownOutcome}, codes.Unavailable, "request timed out"},
	} {
		m := rpctest.New()
		m.Switch(tc.switches)
		_, err := serve(t, m).Write(context.Background(), tc.req)
		if status.Code(err) != tc.code || !strings.Contains(rpctypes.ErrorDesc(err), tc.text) {
			t.Errorf("%s: %v", tc.name, err)
		}
		if n := len(m.Commands()); n != 0 {
			t.Errorf("%s: %d commands applied", tc.name, n)
		}
	}
}

func TestStatusNeedsNoLeader(t *testing.T) {
	m := rpctest.New()
	m.Switch(rpctest.Switches{NoLeader: true, Learner: true, ReadIndexErr: node.ErrNoLeader})
	got, err := serve(t, m).Status(context.Background(), &kvpb.StatusRequest{})
	if err != nil {
		t.Fatal(err)
	}
	want := m.MemberStatus()
	want.ClusterId, want.MemberId, want.Term, want.Revision = rpctest.ClusterID, rpctest.ID, rpctest.Term, 1
	if !proto.Equal(got, want) {
		t.Errorf("status %v\nwant   %v", got, want)
	}
}

func TestRewrite(t *testing.T) {
	m := rpctest.New()
	letGo := make(chan struct{})
	m.Switch(rpctest.Switches{RewriteLetGo: letGo})
	stream, err := serve(t, m).Rewrite(t.Context(), &kvpb.RewriteRequest{})
	if err != nil {
		t.Fatal(err)
	}
	first, err := stream.Recv()
	if err != nil || first.GetDone() || first.GetMemberId() != rpctest.ID || first.GetClusterId() != rpctest.ClusterID {
		t.Fatalf("progress: %v, %v", first, err)
	}
	close(letGo)
	for progress := first; !progress.GetDone(); {
		if progress, err = stream.Recv(); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := stream.Recv(); !errors.Is(err, io.EOF) {
		t.Errorf("behind the last progress: %v", err)
	}

	m.Switch(rpctest.Switches{RewriteErr: statemachine.ErrClosed})
	if stream, err = serve(t, m).Rewrite(t.Context(), &kvpb.RewriteRequest{}); err != nil {
		t.Fatal(err)
	}
	if _, err := stream.Recv(); status.Code(err) != codes.Unavailable {
		t.Errorf("a rewrite that fails: %v", err)
	}
}
