package request_test

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"raftkv/node"
	"raftkv/rpc/request"
	"raftkv/rpc/rpcerr"
	"raftkv/rpc/rpctest"
	"raftkv/statemachine"
	"raftkv/statemachine/envelope"
)

func TestDeadlines(t *testing.T) {
	const timeout = 7 * time.Second
	write := func(ctx context.Context, g *request.Gate) error {
		_, _, err := g.Write(ctx, envelope.KindPut, &pb.PutRequest{Key: []byte("k")})
		return err
	}
	read := func(ctx context.Context, g *request.Gate) error {
		ctx, cancel := g.WithTimeout(ctx)
		defer cancel()
		return g.Barrier(ctx, &pb.RangeRequest{Key: []byte("k")}, false)
	}
	for _, tc := range []struct {
		name   string
		call   func(context.Context, *request.Gate) error
		client time.Duration // deadline of the client, 0 for none
		after  time.Duration
		want   error
	}{
		{"write, no deadline", write, 0, timeout, rpctypes.ErrGRPCTimeout},
		{"write, later deadline", write, time.Hour, timeout, rpctypes.ErrGRPCTimeout},
		{"write, earlier deadline", write, time.Second, time.Second, rpctypes.ErrGRPCTimeout},
		{"read, no deadline", read, 0, timeout, rpctypes.ErrGRPCTimeout},
		{"read, later deadline", read, time.Hour, timeout, rpctypes.ErrGRPCTimeout},
		{"read, earlier deadline", read, time.Second, time.Second, status.FromContextError(context.DeadlineExceeded).Err()},
	} {
		synctest.Test(t, func(t *testing.T) {
			m := rpctest.New()
			m.Switch(rpctest.Switches{BlockPropose: true, BlockReadIndex: true})
			g := rpctest.Gate(t, m, request.AllowAll{}, request.Config{Timeout: timeout})
			ctx := context.Background()
			if tc.client > 0 {
				var cancel context.CancelFunc
				ctx, cancel = context.WithTimeout(ctx, tc.client)
				defer cancel()
			}
			start := time.Now()
			err := tc.call(ctx, g)
			if status.Code(err) != status.Code(tc.want) || rpctypes.ErrorDesc(err) != rpctypes.ErrorDesc(tc.want) {
				t.Errorf("%s: %v, want %v", tc.name, err, tc.want)
			}
			if took := time.Since(start); took != tc.after {
				t.Errorf("%s: took %v, want %v", tc.name, took, tc.after)
			}
		})
	}
}

func TestCancelledByClient(t *testing.T) {
	m := rpctest.New()
	m.Switch(rpctest.Switches{BlockPropose: true, BlockReadIndex: true})
	g := rpctest.Gate(t, m, request.AllowAll{}, request.Config{})
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, _, err := g.Write(ctx, envelope.KindPut, &pb.PutRequest{Key: []byte("k")}); err != rpctypes.ErrGRPCCanceled {
		t.Errorf("write: %v", err)
	}
	if err := g.Barrier(ctx, &pb.RangeRequest{}, false); status.Code(err) != codes.Canceled {
		t.Errorf("read: %v", err)
	}
}

func TestWriteErrors(t *testing.T) {
	for _, tc := range []struct {
		switches rpctest.Switches
		want     error
	}{
		{rpctest.Switches{ProposeErr: node.ErrBusy}, rpctypes.ErrGRPCRequestTooManyRequests},
		{rpctest.Switches{ProposeErr: node.ErrStopped}, rpctypes.ErrGRPCStopped},
		{rpctest.Switches{ProposeErr: fmt.Errorf("%w (%w)", node.ErrUnknownOutcome, context.DeadlineExceeded)}, rpctypes.ErrGRPCTimeout},
		{rpctest.Switches{ProposeErr: fmt.Errorf("%w (%w)", node.ErrNotApplied, context.DeadlineExceeded)}, rpctypes.ErrGRPCNoLeader},
		{rpctest.Switches{ProposeErr: statemachine.ErrCompacted}, rpctypes.ErrGRPCCompacted},
		{rpctest.Switches{Refuse: statemachine.ErrFutureRevision}, rpctypes.ErrGRPCFutureRev},
	} {
		m := rpctest.New()
		m.Switch(tc.switches)
		g := rpctest.Gate(t, m, request.AllowAll{}, request.Config{})
		if _, _, err := g.Write(context.Background(), envelope.KindPut, &pb.PutRequest{Key: []byte("k")}); err != tc.want {
			t.Errorf("%+v: %v, want %v", tc.switches, err, tc.want)
		}
	}
}

func TestRequestBytesMax(t *testing.T) {
	const limit = 1000
	m := rpctest.New()
	g := rpctest.Gate(t, m, request.AllowAll{}, request.Config{RequestBytesMax: limit})
	fits := func(value int) bool {
		_, _, err := g.Write(context.Background(), envelope.KindPut,
			&pb.PutRequest{Key: []byte("k"), Value: []byte(strings.Repeat("v", value))})
		if err != nil && err != rpctypes.ErrGRPCRequestTooLarge {
			t.Fatal(err)
		}
		return err == nil
	}
	largest := 0
	for value := range 2 * limit {
		if fits(value) {
			if largest != max(value-1, 0) {
				t.Fatalf("%d bytes fit but %d did not", value, value-1)
			}
			largest = value
		}
	}
	if largest < limit-32 || largest >= limit {
		t.Errorf("the largest value accepted has %d bytes, with a limit of %d for the command", largest, limit)
	}
}

func TestWriteCarriesIdentityAndRequest(t *testing.T) {
	m := rpctest.New()
	g := rpctest.Gate(t, m, &recorder{id: request.Identity{User: "eve", AuthRevision: 9}}, request.Config{})
	req := &pb.PutRequest{Key: []byte("k"), Value: []byte("v"), Lease: 3, PrevKv: true}
	if _, index, err := g.Write(context.Background(), envelope.KindPut, req); err != nil || index != 2 {
		t.Fatalf("index %d, %v", index, err)
	}
	c := m.Commands()[0]
	if c.Kind != envelope.KindPut || c.User != "eve" || c.AuthRevision != 9 {
		t.Errorf("command %+v", c)
	}
	got := &pb.PutRequest{}
	if err := proto.Unmarshal(c.Body, got); err != nil || !proto.Equal(got, req) {
		t.Errorf("body %v (%v), want %v", got, err, req)
	}
}

// recorder notes every operation it is asked about and denies the keys of deny.
type recorder struct {
	id   request.Identity
	deny string
	seen []string
}

var errDenied = errors.New("denied")

func (r *recorder) Identify(context.Context) (request.Identity, error) { return r.id, nil }

func (r *recorder) Authorize(_ request.Identity, op request.Operation) error {
	name := map[request.Access]string{request.Read: "r", request.Write: "w", request.Inspect: "inspect", request.Admin: "admin"}[op.Access]
	text := fmt.Sprintf("%s %s-%s", name, op.Key, op.RangeEnd)
	if op.Lease != 0 {
		text += fmt.Sprintf(" lease %d", op.Lease)
	}
	r.seen = append(r.seen, text)
	if r.deny != "" && string(op.Key) == r.deny {
		return errDenied
	}
	return nil
}

// TestEveryOperationIsAuthorized is invariant 9.
func TestEveryOperationIsAuthorized(t *testing.T) {
	txn := &pb.TxnRequest{
		Compare: []*pb.Compare{{Key: []byte("c"), RangeEnd: []byte("d")}},
		Success: ops(get("g"), &pb.RequestOp{Request: &pb.RequestOp_RequestPut{
			RequestPut: &pb.PutRequest{Key: []byte("p"), PrevKv: true, Lease: 5}}}),
		Failure: ops(nested(
			ops(&pb.RequestOp{Request: &pb.RequestOp_RequestDeleteRange{
				RequestDeleteRange: &pb.DeleteRangeRequest{Key: []byte("x"), RangeEnd: []byte("z"), PrevKv: true}}}),
			ops(put("n")),
		)),
	}
	for _, tc := range []struct {
		req  proto.Message
		want []string
	}{
		{&pb.RangeRequest{Key: []byte("a"), RangeEnd: []byte("b")}, []string{"r a-b"}},
		{&pb.PutRequest{Key: []byte("a")}, []string{"w a-"}},
		{&pb.PutRequest{Key: []byte("a"), PrevKv: true, Lease: 1}, []string{"r a-", "w a- lease 1"}},
		{&pb.DeleteRangeRequest{Key: []byte("a"), RangeEnd: []byte("b")}, []string{"w a-b"}},
		{txn, []string{"r c-d", "r g-", "r p-", "w p- lease 5", "r x-z", "w x-z", "w n-"}},
		{&pb.CompactionRequest{}, []string{"admin -"}},
		{&pb.StatusRequest{}, []string{"inspect -"}},
		{&pb.MemberListRequest{}, []string{"inspect -"}},
		{&pb.AlarmRequest{}, []string{"inspect -"}},
		{&pb.AlarmRequest{Action: pb.AlarmRequest_DEACTIVATE}, []string{"admin -"}},
	} {
		r := &recorder{}
		g := rpctest.Gate(t, rpctest.New(), r, request.Config{})
		if _, err := g.Authorize(context.Background(), tc.req); err != nil {
			t.Errorf("%T: %v", tc.req, err)
		}
		if !reflect.DeepEqual(r.seen, tc.want) {
			t.Errorf("%T asked for %q, want %q", tc.req, r.seen, tc.want)
		}
	}
	// Denied anywhere is denied altogether, and nothing is proposed.
	for _, key := range []string{"c", "g", "p", "x", "n"} {
		m := rpctest.New()
		g := rpctest.Gate(t, m, &recorder{deny: key}, request.Config{})
		if _, _, err := g.Write(context.Background(), envelope.KindTxn, txn); err == nil {
			t.Errorf("a transaction that needs %q was not denied", key)
		}
		if n := len(m.Commands()); n != 0 {
			t.Errorf("%d commands were proposed", n)
		}
	}
}

func TestUnknownRequestsAreDenied(t *testing.T) {
	g := rpctest.Gate(t, rpctest.New(), request.AllowAll{}, request.Config{})
	for _, req := range []proto.Message{&pb.AuthEnableRequest{}, &pb.TxnRequest{Success: ops(&pb.RequestOp{})}} {
		if _, err := g.Authorize(context.Background(), req); status.Code(err) != codes.PermissionDenied {
			t.Errorf("%T: %v", req, err)
		}
	}
}

func TestReadIsAuthorizedBehindItsBarrier(t *testing.T) {
	m := rpctest.New()
	r := &recorder{}
	g := rpctest.Gate(t, m, r, request.Config{})
	m.Switch(rpctest.Switches{ReadIndexErr: node.ErrNoLeader})
	req := &pb.RangeRequest{Key: []byte("a")}
	if err := g.Barrier(context.Background(), req, false); err != rpctypes.ErrGRPCNoLeader {
		t.Errorf("without a leader: %v", err)
	}
	if len(r.seen) != 0 {
		t.Errorf("authorised %q before the barrier", r.seen)
	}
	if err := g.Barrier(context.Background(), req, true); err != nil || len(r.seen) != 1 {
		t.Errorf("serializable: %v, authorised %q", err, r.seen)
	}
	if n := m.ReadIndexes(); n != 1 {
		t.Errorf("%d read index rounds, want 1", n)
	}
}

func TestAdmit(t *testing.T) {
	with := func(kv ...string) context.Context {
		return metadata.NewIncomingContext(context.Background(), metadata.Pairs(kv...))
	}
	needLeader := with(rpctypes.MetadataRequireLeaderKey, rpctypes.MetadataHasLeader)
	for _, tc := range []struct {
		name     string
		ctx      context.Context
		switches rpctest.Switches
		who      request.Serves
		want     error
	}{
		{"plain", context.Background(), rpctest.Switches{}, request.VotersOnly, nil},
		{"leader required and there", needLeader, rpctest.Switches{}, request.VotersOnly, nil},
		{"leader required and missing", needLeader, rpctest.Switches{NoLeader: true}, request.VotersOnly, rpctypes.ErrGRPCNoLeader},
		{"leader missing and not required", context.Background(), rpctest.Switches{NoLeader: true}, request.VotersOnly, nil},
		{"learner", context.Background(), rpctest.Switches{Learner: true}, request.VotersOnly, rpctypes.ErrGRPCNotSupportedForLearner},
		{"learner, serializable", context.Background(), rpctest.Switches{Learner: true}, request.LearnersToo, nil},
		{"client version", with(rpctypes.MetadataClientAPIVersionKey, "3.7.3"), rpctest.Switches{}, request.VotersOnly, nil},
		{"garbled client version", with(rpctypes.MetadataClientAPIVersionKey, "\xff"), rpctest.Switches{}, request.VotersOnly, rpctypes.ErrGRPCInvalidClientAPIVersion},
	} {
		m := rpctest.New()
		m.Switch(tc.switches)
		if err := rpctest.Gate(t, m, request.AllowAll{}, request.Config{}).Admit(tc.ctx, tc.who); err != tc.want {
			t.Errorf("%s: %v, want %v", tc.name, err, tc.want)
		}
	}
}

func TestConfigReportsEveryFault(t *testing.T) {
	c := request.Config{RequestBytesMax: -1, TxnOpsMax: -1, Timeout: -1}
	c.EnsureDefaults()
	err := c.Validate()
	for _, want := range []string{"RequestBytesMax", "TxnOpsMax", "Timeout"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v does not mention %s", err, want)
		}
	}
}

// nothing is a backend that costs nothing, to see what the gate costs.
type nothing struct{ *rpctest.Member }

var answer = &pb.PutResponse{Header: &pb.ResponseHeader{Revision: 2}}

func (nothing) Propose(context.Context, []byte) (any, uint64, error) { return answer, 2, nil }

func BenchmarkWrite(b *testing.B) {
	g := benchGate(b)
	ctx := metadata.NewIncomingContext(context.Background(), metadata.Pairs(
		":authority", "localhost", "content-type", "application/grpc", "user-agent", "grpc-go", rpctypes.MetadataClientAPIVersionKey, "3.7"))
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	req := &pb.PutRequest{Key: []byte("a key of 16 byte"), Value: make([]byte, 256)}
	b.ReportAllocs()
	for b.Loop() {
		if err := g.Admit(ctx, request.VotersOnly); err != nil {
			b.Fatal(err)
		}
		if _, _, err := g.Write(ctx, envelope.KindPut, req); err != nil {
			b.Fatal(err)
		}
	}
}

func benchGate(tb testing.TB) *request.Gate {
	table, err := rpcerr.New()
	if err != nil {
		tb.Fatal(err)
	}
	g, err := request.New(nothing{rpctest.New()}, request.AllowAll{}, table, request.Config{})
	if err != nil {
		tb.Fatal(err)
	}
	return g
}
