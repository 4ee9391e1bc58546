package server

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// TestReadsLargerThanTheLimit: what does not fit into --max-response-bytes is
// refused with a hint, and everything can be read the way the hint says.
func TestReadsLargerThanTheLimit(t *testing.T) {
	const keys, valueBytes = 60, 4 << 10
	c := newCluster(t, 1, true)
	c.configs[0].MaxResponseBytes = 6 * valueBytes // fewer keys than a stream begins with
	c.startAll()
	client, ctx := c.client(0), requestContext(t)
	for i := range keys {
		if _, err := client.Put(ctx, fmt.Sprintf("k%02d", i), strings.Repeat("v", valueBytes)); err != nil {
			t.Fatal(err)
		}
	}
	// As plain gRPC sees it; the Go client keeps the code and the text.
	kv := pb.NewKVClient(client.ActiveConnection())
	all := func() *pb.RangeRequest { return &pb.RangeRequest{Key: []byte("k"), RangeEnd: []byte("l")} }
	refused := func(what string, err error) {
		t.Helper()
		if status.Code(err) != codes.ResourceExhausted || !strings.Contains(err.Error(), "in pages, with a limit, or by RangeStream") {
			t.Errorf("%s: %v", what, err)
		}
	}
	_, err := kv.Range(ctx, all())
	refused("range", err)
	sorted := all()
	sorted.SortTarget, sorted.SortOrder = pb.RangeRequest_VALUE, pb.RangeRequest_DESCEND
	_, err = kv.Range(ctx, sorted)
	refused("sorted range", err)
	op := func(r *pb.RangeRequest) *pb.RequestOp {
		return &pb.RequestOp{Request: &pb.RequestOp_RequestRange{RequestRange: r}}
	}
	var points []*pb.RequestOp
	for i := range keys {
		points = append(points, op(&pb.RangeRequest{Key: fmt.Appendf(nil, "k%02d", i)}))
	}
	_, err = kv.Txn(ctx, &pb.TxnRequest{Success: points})
	refused("transaction of reads", err)
	if _, err := kv.Txn(ctx, &pb.TxnRequest{Success: points[:5]}); err != nil {
		t.Errorf("a transaction that fits: %v", err)
	}
	counted := all()
	counted.CountOnly = true
	if resp, err := kv.Range(ctx, counted); err != nil || resp.Count != keys {
		t.Errorf("count: %v, %v", resp, err)
	}
	listed := 0
	for key, more := "k", true; more; {
		page, err := client.Get(ctx, key, clientv3.WithRange("l"), clientv3.WithLimit(5))
		if err != nil {
			t.Fatal(err)
		}
		listed, more = listed+len(page.Kvs), page.More
		key = string(page.Kvs[len(page.Kvs)-1].Key) + "\x00"
	}
	if listed != keys {
		t.Errorf("%d keys in pages", listed)
	}
	if n, err := streamed(kv.RangeStream(ctx, all())); n != keys || err != nil {
		t.Errorf("%d keys by RangeStream, %v", n, err)
	}
}

func streamed(stream pb.KV_RangeStreamClient, err error) (keys int, _ error) {
	for err == nil {
		var chunk *pb.RangeStreamResponse
		chunk, err = stream.Recv()
		keys += len(chunk.GetRangeResponse().GetKvs())
	}
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return keys, err
}

// TestOneKeyValueAlwaysFits: however small the limit is.
func TestOneKeyValueAlwaysFits(t *testing.T) {
	c := newCluster(t, 1, true)
	c.configs[0].MaxResponseBytes = 1
	c.startAll()
	c.put(0, "a", strings.Repeat("v", 10_000))
	c.put(0, "b", "w")
	c.expect(0, "a", strings.Repeat("v", 10_000))
	kv := pb.NewKVClient(c.client(0).ActiveConnection())
	if n, err := streamed(kv.RangeStream(requestContext(t), &pb.RangeRequest{Key: []byte("a"), RangeEnd: []byte("c")})); n != 2 || err != nil {
		t.Errorf("%d keys by RangeStream, %v", n, err)
	}
}
