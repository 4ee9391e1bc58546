package etcdv3_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc/codes"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"raftkv/node"
	"raftkv/rpc/etcdv3"
	"raftkv/rpc/listen"
	"raftkv/rpc/request"
	"raftkv/rpc/rpctest"
	"raftkv/statemachine/envelope"
)

func checkHeader(t *testing.T, what string, h *pb.ResponseHeader, revision int64) {
	t.Helper()
	want := &pb.ResponseHeader{ClusterId: rpctest.ClusterID, MemberId: rpctest.ID, RaftTerm: rpctest.Term, Revision: revision}
	if !proto.Equal(h, want) {
		t.Errorf("%s: header %v, want %v", what, h, want)
	}
}

func TestKV(t *testing.T) {
	m := rpctest.New()
	client := serve(t, m, request.Config{})
	ctx := context.Background()

	put, err := client.Put(ctx, &pb.PutRequest{Key: []byte("a"), Value: []byte("1")})
	if err != nil {
		t.Fatal(err)
	}
	checkHeader(t, "put", put.GetHeader(), 2)

	got, err := client.Range(ctx, &pb.RangeRequest{Key: []byte("a")})
	if err != nil || len(got.GetKvs()) != 1 || string(got.GetKvs()[0].GetValue()) != "1" {
		t.Fatalf("range: %v, %v", got, err)
	}
	checkHeader(t, "range", got.GetHeader(), 2)

	txn, err := client.Txn(ctx, &pb.TxnRequest{
		Compare: []*pb.Compare{{Key: []byte("a"), Target: pb.Compare_MOD, TargetUnion: &pb.Compare_ModRevision{ModRevision: 2}}},
		Success: []*pb.RequestOp{putOp(&pb.PutRequest{Key: []byte("b"), Value: []byte("2")})},
	})
	if err != nil || !txn.GetSucceeded() {
		t.Fatalf("txn: %v, %v", txn, err)
	}
	checkHeader(t, "txn", txn.GetHeader(), 3)

	del, err := client.DeleteRange(ctx, &pb.DeleteRangeRequest{Key: []byte("a"), RangeEnd: []byte("c")})
	if err != nil || del.GetDeleted() != 2 {
		t.Fatalf("delete: %v, %v", del, err)
	}
	checkHeader(t, "delete", del.GetHeader(), 4)

	compacted, err := client.Compact(ctx, &pb.CompactionRequest{Revision: 3})
	if err != nil {
		t.Fatal(err)
	}
	checkHeader(t, "compact", compacted.GetHeader(), 4)

	var kinds []envelope.Kind
	for _, c := range m.Commands() {
		kinds = append(kinds, c.Kind)
	}
	want := []envelope.Kind{envelope.KindPut, envelope.KindTxn, envelope.KindDeleteRange, envelope.KindCompaction}
	if !slices.Equal(kinds, want) {
		t.Errorf("proposed kinds %v, want %v", kinds, want)
	}
}

func TestReadsAndTheirBarrier(t *testing.T) {
	local := rangeOp(&pb.RangeRequest{Key: []byte("a"), Serializable: true})
	fresh := rangeOp(&pb.RangeRequest{Key: []byte("a")})
	for _, tc := range []struct {
		name    string
		call    func(pb.KVClient) error
		barrier bool
		serves  bool // a learner answers it
	}{
		{"range", func(c pb.KVClient) error {
			_, err := c.Range(context.Background(), &pb.RangeRequest{Key: []byte("a")})
			return err
		}, true, false},
		{"serializable range", func(c pb.KVClient) error {
			_, err := c.Range(context.Background(), &pb.RangeRequest{Key: []byte("a"), Serializable: true})
			return err
		}, false, true},
		{"txn of ranges", func(c pb.KVClient) error {
			_, err := c.Txn(context.Background(), &pb.TxnRequest{Success: []*pb.RequestOp{local, fresh}})
			return err
		}, true, false},
		{"txn of serializable ranges", func(c pb.KVClient) error {
			_, err := c.Txn(context.Background(), &pb.TxnRequest{Success: []*pb.RequestOp{local}})
			return err
		}, false, false},
		{"txn of compares alone", func(c pb.KVClient) error {
			_, err := c.Txn(context.Background(), &pb.TxnRequest{Compare: []*pb.Compare{{Key: []byte("a")}}})
			return err
		}, true, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			m := rpctest.New()
			client := serve(t, m, request.Config{})
			if err := tc.call(client); err != nil {
				t.Fatal(err)
			}
			if got := m.ReadIndexes() == 1; got != tc.barrier {
				t.Errorf("%d read index rounds", m.ReadIndexes())
			}
			if n := len(m.Commands()); n != 0 {
				t.Errorf("a read proposed %d commands", n)
			}
			m.Switch(rpctest.Switches{ReadIndexErr: node.ErrReadTimeout})
			if err := tc.call(client); tc.barrier != (rpctypes.ErrorDesc(orOK(err)) == rpctypes.ErrorDesc(rpctypes.ErrGRPCTimeout)) {
				t.Errorf("without a quorum: %v", err)
			}
			m.Switch(rpctest.Switches{Learner: true})
			if err := tc.call(client); tc.serves != (err == nil) {
				t.Errorf("on a learner: %v", err)
			}
		})
	}
}

// orOK makes nil printable by ErrorDesc.
func orOK(err error) error {
	if err == nil {
		return errors.New("")
	}
	return err
}

func TestRequiredLeaderAcrossTheWire(t *testing.T) {
	m := rpctest.New()
	m.Switch(rpctest.Switches{NoLeader: true})
	client := serve(t, m, request.Config{})
	ctx := metadata.AppendToOutgoingContext(context.Background(), rpctypes.MetadataRequireLeaderKey, rpctypes.MetadataHasLeader)
	_, err := client.Put(ctx, &pb.PutRequest{Key: []byte("k")})
	if status.Code(err) != codes.Unavailable || rpctypes.ErrorDesc(err) != "etcdserver: no leader" {
		t.Errorf("%v", err)
	}
}

func TestRangeStream(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 2))
	const bytesMax = 4096
	m := rpctest.New()
	client := serve(t, m, request.Config{RequestBytesMax: bytesMax})
	ctx := context.Background()
	for i := range 400 {
		value := strings.Repeat("v", random.IntN(1000))
		if _, err := client.Put(ctx, &pb.PutRequest{Key: fmt.Appendf(nil, "k%03d", i), Value: []byte(value)}); err != nil {
			t.Fatal(err)
		}
	}
	for _, limit := range []int64{0, 1, 16, 17, 399, 400, 1000} {
		req := &pb.RangeRequest{Key: []byte("k"), RangeEnd: []byte("l"), Limit: limit}
		want, err := client.Range(ctx, req)
		if err != nil {
			t.Fatal(err)
		}
		before := len(m.Ranges())
		kvs, last, chunks := collect(t, client, req)
		if !slices.EqualFunc(kvs, want.GetKvs(), func(a, b *mvccpb.KeyValue) bool { return proto.Equal(a, b) }) {
			t.Errorf("limit %d: the stream differs from the range", limit)
		}
		if last.GetMore() != want.GetMore() || last.GetCount() != want.GetCount() {
			t.Errorf("limit %d: more %v count %d, want %v %d", limit, last.GetMore(), last.GetCount(), want.GetMore(), want.GetCount())
		}
		checkHeader(t, "last chunk", last.GetHeader(), want.GetHeader().GetRevision())
		for i, r := range m.Ranges()[before:] {
			if i > 0 && r.GetRevision() != want.GetHeader().GetRevision() {
				t.Errorf("limit %d: chunk %d was read at revision %d", limit, i, r.GetRevision())
			}
		}
		if limit == 0 && chunks < 400*500/bytesMax/4 {
			t.Errorf("only %d chunks", chunks)
		}
	}
}

// Sorted by anything but the key, an answer can only be sorted as a whole.
func TestRangeStreamSortedByATargetIsReadAtOnce(t *testing.T) {
	const keys = 48 // more than a first chunk takes
	m := rpctest.New()
	client := serve(t, m, request.Config{})
	for i := range keys {
		if _, err := client.Put(context.Background(), &pb.PutRequest{Key: fmt.Appendf(nil, "k%03d", 999-i)}); err != nil {
			t.Fatal(err)
		}
	}
	before := len(m.Ranges())
	kvs, last, _ := collect(t, client, &pb.RangeRequest{Key: []byte("k"), RangeEnd: []byte("l"), SortTarget: pb.RangeRequest_CREATE})
	if len(kvs) != keys || last.GetCount() != keys {
		t.Errorf("%d keys, count %d, want %d", len(kvs), last.GetCount(), keys)
	}
	if asked := len(m.Ranges()) - before; asked != 1 {
		t.Errorf("read in %d pieces", asked)
	}
}

// collect reads a stream to its end and checks that the header comes last.
func collect(t *testing.T, client pb.KVClient, req *pb.RangeRequest) (kvs []*mvccpb.KeyValue, last *pb.RangeResponse, chunks int) {
	t.Helper()
	stream, err := client.RangeStream(context.Background(), req)
	if err != nil {
		t.Fatal(err)
	}
	for {
		resp, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return kvs, last, chunks
		}
		if err != nil {
			t.Fatal(err)
		}
		if last.GetHeader() != nil {
			t.Error("a chunk followed the one with the header")
		}
		last = resp.GetRangeResponse()
		kvs = append(kvs, last.GetKvs()...)
		chunks++
	}
}

func TestRangeStreamCountAndRefusals(t *testing.T) {
	m := rpctest.New()
	client := serve(t, m, request.Config{})
	if _, err := client.Put(context.Background(), &pb.PutRequest{Key: []byte("k")}); err != nil {
		t.Fatal(err)
	}
	_, last, _ := collect(t, client, &pb.RangeRequest{Key: []byte("k"), CountOnly: true})
	if last.GetCount() != 1 || len(last.GetKvs()) != 0 {
		t.Errorf("count only: %v", last)
	}
	for _, tc := range []struct {
		req  *pb.RangeRequest
		code codes.Code
	}{
		{&pb.RangeRequest{}, codes.InvalidArgument},
		{&pb.RangeRequest{Key: []byte("k"), SortOrder: pb.RangeRequest_DESCEND}, codes.Unimplemented},
		{&pb.RangeRequest{Key: []byte("k"), MinModRevision: 1}, codes.Unimplemented},
		{&pb.RangeRequest{Key: []byte("k"), Revision: 99}, codes.OutOfRange},
	} {
		stream, err := client.RangeStream(context.Background(), tc.req)
		if err == nil {
			_, err = stream.Recv()
		}
		if status.Code(err) != tc.code {
			t.Errorf("%v: %v", tc.req, err)
		}
	}
}

func TestClusterAndMaintenance(t *testing.T) {
	m := rpctest.New()
	services := etcdv3.New(rpctest.Gate(t, m, request.AllowAll{}, request.Config{}), m)
	conn := rpctest.Serve(t, listen.GRPCConfig{}, services.Register)
	ctx := context.Background()
	cluster, maintenance := pb.NewClusterClient(conn), pb.NewMaintenanceClient(conn)

	list, err := cluster.MemberList(ctx, &pb.MemberListRequest{Linearizable: true})
	if err != nil || len(list.GetMembers()) != 1 || list.GetMembers()[0].GetName() != "one" {
		t.Fatalf("members: %v, %v", list, err)
	}
	checkHeader(t, "member list", list.GetHeader(), 0)
	if m.ReadIndexes() != 1 {
		t.Errorf("%d read index rounds for a linearizable list", m.ReadIndexes())
	}

	// Status needs neither leader nor quorum, and says so.
	m.Switch(rpctest.Switches{NoLeader: true, Learner: true, ReadIndexErr: node.ErrNoLeader, Errors: []string{"memberID:1 alarm:NOSPACE"}})
	st, err := maintenance.Status(ctx, &pb.StatusRequest{})
	if err != nil {
		t.Fatal(err)
	}
	checkHeader(t, "status", st.GetHeader(), 1)
	want := &pb.StatusResponse{
		Header: st.GetHeader(), Version: "3.7.3", DbSize: 4096, DbSizeInUse: 1024, DbSizeQuota: 1 << 30, RaftIndex: 11,
		RaftAppliedIndex: 10, RaftTerm: rpctest.Term, IsLearner: true, StorageVersion: "3.7.0", DowngradeInfo: &pb.DowngradeInfo{},
		Errors: []string{"etcdserver: no leader", "memberID:1 alarm:NOSPACE"},
	}
	if !proto.Equal(st, want) {
		t.Errorf("status %v\nwant   %v", st, want)
	}

	m.Switch(rpctest.Switches{})
	alarms, err := maintenance.Alarm(ctx, &pb.AlarmRequest{})
	if err != nil || len(alarms.GetAlarms()) != 0 {
		t.Errorf("alarms: %v, %v", alarms, err)
	}
	health, err := healthpb.NewHealthClient(conn).Check(ctx, &healthpb.HealthCheckRequest{})
	if err != nil || health.GetStatus() != healthpb.HealthCheckResponse_SERVING {
		t.Errorf("health: %v, %v", health, err)
	}
}

func TestWhatIsNotThereYetSaysSo(t *testing.T) {
	m := rpctest.New()
	services := etcdv3.New(rpctest.Gate(t, m, request.AllowAll{}, request.Config{}), m)
	conn := rpctest.Serve(t, listen.GRPCConfig{}, services.Register)
	ctx := context.Background()
	_, enable := pb.NewAuthClient(conn).AuthEnable(ctx, &pb.AuthEnableRequest{})
	for name, err := range map[string]error{"enable": enable} {
		if status.Code(err) != codes.Unimplemented || !strings.Contains(rpctypes.ErrorDesc(err), "not implemented") {
			t.Errorf("%s: %v", name, err)
		}
	}
}
