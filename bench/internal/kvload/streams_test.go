package kvload

import (
	"bytes"
	"context"
	"errors"
	"net"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"raftkv/bench/internal/load"
)

// streamer answers transactions, watches and leases, well or, with wrong, not.
type streamer struct {
	etcdserverpb.UnimplementedKVServer
	etcdserverpb.UnimplementedWatchServer
	etcdserverpb.UnimplementedLeaseServer
	wrong bool
	puts  chan int64 // revisions for the one watcher; nothing comes if it is nil
}

func (s *streamer) Put(context.Context, *etcdserverpb.PutRequest) (*etcdserverpb.PutResponse, error) {
	const revision = 7
	if s.puts != nil {
		s.puts <- revision
	}
	return &etcdserverpb.PutResponse{Header: &etcdserverpb.ResponseHeader{Revision: revision}}, nil
}

func (s *streamer) Txn(_ context.Context, req *etcdserverpb.TxnRequest) (*etcdserverpb.TxnResponse, error) {
	if len(req.GetCompare()) == 0 {
		key := req.GetSuccess()[0].GetRequestRange().GetKey()
		if key == nil {
			return &etcdserverpb.TxnResponse{Succeeded: !s.wrong, Responses: []*etcdserverpb.ResponseOp{{}}}, nil
		}
		return &etcdserverpb.TxnResponse{Succeeded: true, Responses: []*etcdserverpb.ResponseOp{s.found(key)}}, nil
	}
	key := req.GetCompare()[0].GetKey()
	return &etcdserverpb.TxnResponse{Succeeded: !s.wrong, Responses: []*etcdserverpb.ResponseOp{
		s.found(key),
		{Response: &etcdserverpb.ResponseOp_ResponsePut{}},
	}}, nil
}

// found is a value, or with wrong, one of the wrong size.
func (s *streamer) found(key []byte) *etcdserverpb.ResponseOp {
	value := make([]byte, 8)
	if s.wrong {
		value = value[1:]
	}
	return &etcdserverpb.ResponseOp{Response: &etcdserverpb.ResponseOp_ResponseRange{ResponseRange: &etcdserverpb.RangeResponse{
		Header: &etcdserverpb.ResponseHeader{Revision: 7},
		Count:  1, Kvs: []*mvccpb.KeyValue{{Key: key, Value: value}},
	}}}
}

// Range answers as if all keys were there or, with wrong, all but the first.
func (s *streamer) Range(_ context.Context, req *etcdserverpb.RangeRequest) (*etcdserverpb.RangeResponse, error) {
	resp := &etcdserverpb.RangeResponse{Header: &etcdserverpb.ResponseHeader{Revision: 7}}
	for n := range clientKeys {
		key := presentKey(n)
		in := bytes.Equal(key, req.GetKey())
		if len(req.GetRangeEnd()) > 0 {
			in = bytes.Compare(key, req.GetKey()) >= 0 && bytes.Compare(key, req.GetRangeEnd()) < 0
		}
		if in {
			resp.Kvs = append(resp.Kvs, &mvccpb.KeyValue{Key: key, Value: make([]byte, 8)})
		}
	}
	if s.wrong && len(resp.Kvs) > 0 {
		resp.Kvs = resp.Kvs[1:]
	}
	resp.Count = int64(len(resp.Kvs))
	return resp, nil
}

func (s *streamer) Watch(stream etcdserverpb.Watch_WatchServer) error {
	if _, err := stream.Recv(); err != nil {
		return err
	}
	if err := stream.Send(&etcdserverpb.WatchResponse{Created: true}); err != nil {
		return err
	}
	for {
		select {
		case revision := <-s.puts:
			if s.wrong {
				revision++
			}
			event := &mvccpb.Event{Kv: &mvccpb.KeyValue{ModRevision: revision}}
			if err := stream.Send(&etcdserverpb.WatchResponse{Events: []*mvccpb.Event{event}}); err != nil {
				return err
			}
		case <-stream.Context().Done():
			return nil
		}
	}
}

func (s *streamer) LeaseGrant(_ context.Context, req *etcdserverpb.LeaseGrantRequest) (*etcdserverpb.LeaseGrantResponse, error) {
	return &etcdserverpb.LeaseGrantResponse{ID: 5, TTL: req.GetTTL()}, nil
}

func (s *streamer) LeaseKeepAlive(stream etcdserverpb.Lease_LeaseKeepAliveServer) error {
	for {
		req, err := stream.Recv()
		if err != nil {
			return err
		}
		resp := &etcdserverpb.LeaseKeepAliveResponse{ID: req.GetID(), TTL: leaseTTLSeconds}
		if s.wrong { // an expired lease
			resp.TTL = 0
		}
		if err := stream.Send(resp); err != nil {
			return err
		}
	}
}

const clientKeys = 10

// clientOf returns one client of an operation against a streamer.
func clientOf(t *testing.T, s *streamer, operation Operation) load.Op {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer()
	etcdserverpb.RegisterKVServer(server, s)
	etcdserverpb.RegisterWatchServer(server, s)
	etcdserverpb.RegisterLeaseServer(server, s)
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	t.Cleanup(func() { server.Stop(); <-served })
	spec := Spec{Operation: operation, Keys: clientKeys, ValueSizeBytes: 8}
	switch operation {
	case OpRange:
		spec.PageKeys = 3
	case OpTxnMixed:
		spec.ReadPercent = 50
	}
	if err := spec.Validate(); err != nil {
		t.Fatal(err)
	}
	return New(spec, dialForTest(t, []string{listener.Addr().String()}, 1), 1).NewClient(0)
}

func TestOperationsAreDoneAndChecked(t *testing.T) {
	for _, operation := range []Operation{OpTxn, OpTxnMixed, OpSTM, OpRange, OpWatch, OpLeaseKeepAlive, OpLeaseGrant} {
		op := clientOf(t, &streamer{puts: make(chan int64, 1)}, operation)
		for range 3 {
			if _, err := op(t.Context()); err != nil {
				t.Errorf("%s: %v", operation, err)
			}
		}
		if operation == OpLeaseGrant {
			continue // nothing to get wrong but what the other lease operation checks
		}
		op = clientOf(t, &streamer{puts: make(chan int64, 1), wrong: true}, operation)
		if _, err := op(t.Context()); !errors.Is(err, errWrongAnswer) {
			t.Errorf("%s: a wrong answer was taken: %v", operation, err)
		}
	}
}

// An event that never comes ends the operation at its time limit, and the next
// one begins anew.
func TestMissingEventEndsAtTheTimeLimit(t *testing.T) {
	op := clientOf(t, &streamer{}, OpWatch)
	for range 2 {
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		_, err := op(ctx)
		cancel()
		if code := status.Code(err); code != codes.Canceled && code != codes.DeadlineExceeded {
			t.Errorf("got %v", err)
		}
	}
}

func TestUnknownOperationIsRefused(t *testing.T) {
	if err := (Spec{Operation: OpRange, Keys: 5, PageKeys: 6}).Validate(); err == nil {
		t.Error("a range of more keys than there are was taken")
	}
	if err := (Spec{Operation: "flush", Distribution: "bell", Keys: 1}).Validate(); err == nil {
		t.Error("taken")
	}
}
