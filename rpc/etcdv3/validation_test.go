package etcdv3_test

import (
	"context"
	"strings"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc/status"

	"raftkv/rpc/etcdv3"
	"raftkv/rpc/listen"
	"raftkv/rpc/request"
	"raftkv/rpc/rpctest"
)

// serve returns a client of the etcd services in front of m.
func serve(t *testing.T, m *rpctest.Member, cfg request.Config) pb.KVClient {
	t.Helper()
	services := etcdv3.New(rpctest.Gate(t, m, request.AllowAll{}, cfg), m)
	return pb.NewKVClient(rpctest.Serve(t, listen.GRPCConfig{RequestBytesMax: cfg.RequestBytesMax}, services.Register))
}

func putOp(r *pb.PutRequest) *pb.RequestOp {
	return &pb.RequestOp{Request: &pb.RequestOp_RequestPut{RequestPut: r}}
}

func rangeOp(r *pb.RangeRequest) *pb.RequestOp {
	return &pb.RequestOp{Request: &pb.RequestOp_RequestRange{RequestRange: r}}
}

func deleteOp(r *pb.DeleteRangeRequest) *pb.RequestOp {
	return &pb.RequestOp{Request: &pb.RequestOp_RequestDeleteRange{RequestDeleteRange: r}}
}

// TestInvalidRequests sends what etcd refuses and expects etcd's code and text
// from the far end of a connection.
func TestInvalidRequests(t *testing.T) {
	m := rpctest.New()
	client := serve(t, m, request.Config{})
	ctx := context.Background()
	k := []byte("k")
	rangeErr := func(r *pb.RangeRequest) error { _, err := client.Range(ctx, r); return err }
	putErr := func(r *pb.PutRequest) error { _, err := client.Put(ctx, r); return err }
	deleteErr := func(r *pb.DeleteRangeRequest) error { _, err := client.DeleteRange(ctx, r); return err }
	txnErr := func(ops ...*pb.RequestOp) error {
		_, err := client.Txn(ctx, &pb.TxnRequest{Success: ops})
		return err
	}
	compareErr := func(c *pb.Compare) error {
		_, err := client.Txn(ctx, &pb.TxnRequest{Compare: []*pb.Compare{c}})
		return err
	}
	compactErr := func(revision int64) error {
		_, err := client.Compact(ctx, &pb.CompactionRequest{Revision: revision})
		return err
	}
	tooMany := make([]*pb.RequestOp, 129)
	for i := range tooMany {
		tooMany[i] = rangeOp(&pb.RangeRequest{Key: k})
	}
	for _, tc := range []struct {
		name string
		err  error
		want error
	}{
		{"range without key", rangeErr(&pb.RangeRequest{}), rpctypes.ErrGRPCEmptyKey},
		{"range with unknown order", rangeErr(&pb.RangeRequest{Key: k, SortOrder: 9}), rpctypes.ErrGRPCInvalidSortOption},
		{"range with unknown target", rangeErr(&pb.RangeRequest{Key: k, SortTarget: 9}), rpctypes.ErrGRPCInvalidSortOption},
		{"range of the future", rangeErr(&pb.RangeRequest{Key: k, Revision: 99}), rpctypes.ErrGRPCFutureRev},
		{"put without key", putErr(&pb.PutRequest{Value: k}), rpctypes.ErrGRPCEmptyKey},
		{"put with ignored value", putErr(&pb.PutRequest{Key: k, Value: k, IgnoreValue: true}), rpctypes.ErrGRPCValueProvided},
		{"put with ignored lease", putErr(&pb.PutRequest{Key: k, Lease: 1, IgnoreLease: true}), rpctypes.ErrGRPCLeaseProvided},
		{"put too large", putErr(&pb.PutRequest{Key: k, Value: make([]byte, 3<<19)}), rpctypes.ErrGRPCRequestTooLarge},
		{"delete without key", deleteErr(&pb.DeleteRangeRequest{}), rpctypes.ErrGRPCEmptyKey},
		{"txn with too many operations", txnErr(tooMany...), rpctypes.ErrGRPCTooManyOps},
		{"txn with an empty operation", txnErr(&pb.RequestOp{}), rpctypes.ErrGRPCKeyNotFound},
		{"txn with an empty key", txnErr(putOp(&pb.PutRequest{})), rpctypes.ErrGRPCEmptyKey},
		{"txn with a bad put", txnErr(putOp(&pb.PutRequest{Key: k, Value: k, IgnoreValue: true})), rpctypes.ErrGRPCValueProvided},
		{"txn with a bad range", txnErr(rangeOp(&pb.RangeRequest{Key: k, SortOrder: 9})), rpctypes.ErrGRPCInvalidSortOption},
		{"txn comparing no key", compareErr(&pb.Compare{}), rpctypes.ErrGRPCEmptyKey},
		{"txn putting twice", txnErr(putOp(&pb.PutRequest{Key: k}), putOp(&pb.PutRequest{Key: k})), rpctypes.ErrGRPCDuplicateKey},
		{"txn putting and deleting", txnErr(deleteOp(&pb.DeleteRangeRequest{Key: []byte("a"), RangeEnd: []byte("z")}), putOp(&pb.PutRequest{Key: k})), rpctypes.ErrGRPCDuplicateKey},
		{"compaction of the future", compactErr(99), rpctypes.ErrGRPCFutureRev},
		{"compaction of the past", compactErr(0), rpctypes.ErrGRPCCompacted},
	} {
		if status.Code(tc.err) != status.Code(tc.want) || rpctypes.ErrorDesc(tc.err) != rpctypes.ErrorDesc(tc.want) {
			t.Errorf("%s: %v, want %v", tc.name, tc.err, tc.want)
		}
	}
	for _, c := range m.Commands() {
		if len(c.Body) > 16 { // only the two compactions may have been proposed
			t.Errorf("an invalid request was proposed: kind %d, %d bytes", c.Kind, len(c.Body))
		}
	}
	if n := len(m.Commands()); n != 2 {
		t.Errorf("%d commands were proposed, want the 2 compactions", n)
	}
}

// TestMessageBeyondTheOverhead is refused by gRPC itself, as by etcd.
func TestMessageBeyondTheOverhead(t *testing.T) {
	client := serve(t, rpctest.New(), request.Config{RequestBytesMax: 1 << 20})
	_, err := client.Put(context.Background(), &pb.PutRequest{Key: []byte("k"), Value: make([]byte, 2<<20)})
	if !strings.Contains(rpctypes.ErrorDesc(err), "received message larger than max") {
		t.Errorf("%v", err)
	}
}
