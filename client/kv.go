package client

import (
	"context"
	"fmt"
	"slices"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"raftkv/rpc/kvstream/kvpb"
)

// appendTriesMax bounds how often an append through the etcd API starts again
// because another writer was faster.
const appendTriesMax = 64

// Write executes one put, append or delete. Against a server without the native
// service it uses the etcd API; Index, Holders and Members of the response are
// then 0.
func (c *Client) Write(ctx context.Context, req *kvpb.WriteRequest) (*kvpb.WriteResponse, Answer, error) {
	var resp *kvpb.WriteResponse
	e, err := c.do(ctx, true, func(ctx context.Context, e *endpoint) (err error) {
		resp, err = kvpb.NewNativeClient(e.conn).Write(ctx, req)
		if status.Code(err) == codes.Unimplemented {
			resp, err = writeEtcd(ctx, e, req)
		}
		return err
	})
	if a := req.GetAppend(); a != nil && status.Code(err) == codes.Unimplemented {
		return c.appendEtcd(ctx, a)
	}
	if err != nil {
		return nil, Answer{}, err
	}
	return resp, c.answer(e, &pb.ResponseHeader{
		ClusterId: resp.GetClusterId(),
		MemberId:  resp.GetMemberId(),
		RaftTerm:  resp.GetRaftTerm(),
		Revision:  resp.GetRevision(),
	}), nil
}

// writeEtcd executes a put or a delete through the etcd API. An append needs
// more than one request and is refused as Unimplemented.
func writeEtcd(ctx context.Context, e *endpoint, req *kvpb.WriteRequest) (*kvpb.WriteResponse, error) {
	kv := pb.NewKVClient(e.conn)
	switch op := req.GetOp().(type) {
	case *kvpb.WriteRequest_Put:
		r, err := kv.Put(ctx, &pb.PutRequest{Key: op.Put.GetKey(), Value: op.Put.GetValue(), Lease: op.Put.GetLease()})
		if err != nil {
			return nil, err
		}
		return writeResponse(r.GetHeader()), nil
	case *kvpb.WriteRequest_Delete:
		r, err := kv.DeleteRange(ctx, &pb.DeleteRangeRequest{Key: op.Delete.GetKey(), RangeEnd: op.Delete.GetRangeEnd()})
		if err != nil {
			return nil, err
		}
		resp := writeResponse(r.GetHeader())
		resp.Deleted = r.GetDeleted()
		return resp, nil
	}
	return nil, status.Errorf(codes.Unimplemented, "the etcd API has no call for %T", req.GetOp())
}

func writeResponse(h *pb.ResponseHeader) *kvpb.WriteResponse {
	return &kvpb.WriteResponse{
		ClusterId: h.GetClusterId(),
		MemberId:  h.GetMemberId(),
		RaftTerm:  h.GetRaftTerm(),
		Revision:  h.GetRevision(),
	}
}

// appendEtcd appends by reading the value and replacing it on the condition
// that nobody else has written the key meanwhile.
func (c *Client) appendEtcd(ctx context.Context, a *kvpb.Append) (*kvpb.WriteResponse, Answer, error) {
	for range appendTriesMax {
		read, _, err := c.Range(ctx, &pb.RangeRequest{Key: a.GetKey()})
		if err != nil {
			return nil, Answer{}, fmt.Errorf("append: reading the current value: %w (not applied)", err)
		}
		put := &pb.PutRequest{Key: a.GetKey(), Value: a.GetValue()}
		var modRevision int64 // of a missing key
		if kvs := read.GetKvs(); len(kvs) > 0 {
			modRevision = kvs[0].GetModRevision()
			put.Value = slices.Concat(kvs[0].GetValue(), a.GetValue())
			put.IgnoreLease = true // the key stays attached to its lease
		}
		resp, answer, err := c.Txn(ctx, &pb.TxnRequest{
			Compare: []*pb.Compare{{
				Key:         a.GetKey(),
				Target:      pb.Compare_MOD,
				Result:      pb.Compare_EQUAL,
				TargetUnion: &pb.Compare_ModRevision{ModRevision: modRevision},
			}},
			Success: []*pb.RequestOp{{Request: &pb.RequestOp_RequestPut{RequestPut: put}}},
		})
		if err != nil {
			return nil, Answer{}, err
		}
		if resp.GetSucceeded() {
			w := writeResponse(resp.GetHeader())
			w.Length = int64(len(put.Value))
			return w, answer, nil
		}
	}
	return nil, Answer{}, fmt.Errorf("append: other writers changed the key %d times in a row: %w", appendTriesMax, ErrNotApplied)
}

// Range reads keys.
func (c *Client) Range(ctx context.Context, req *pb.RangeRequest) (*pb.RangeResponse, Answer, error) {
	var resp *pb.RangeResponse
	e, err := c.do(ctx, false, func(ctx context.Context, e *endpoint) (err error) {
		resp, err = pb.NewKVClient(e.conn).Range(ctx, req)
		return err
	})
	if err != nil {
		return nil, Answer{}, err
	}
	return resp, c.answer(e, resp.GetHeader()), nil
}

// Txn executes a transaction. One that can only read is treated as a read.
func (c *Client) Txn(ctx context.Context, req *pb.TxnRequest) (*pb.TxnResponse, Answer, error) {
	var resp *pb.TxnResponse
	e, err := c.do(ctx, !readsOnly(req), func(ctx context.Context, e *endpoint) (err error) {
		resp, err = pb.NewKVClient(e.conn).Txn(ctx, req)
		return err
	})
	if err != nil {
		return nil, Answer{}, err
	}
	return resp, c.answer(e, resp.GetHeader()), nil
}

// readsOnly is whether neither branch of t can change anything.
func readsOnly(t *pb.TxnRequest) bool {
	for _, op := range slices.Concat(t.GetSuccess(), t.GetFailure()) {
		switch r := op.GetRequest().(type) {
		case *pb.RequestOp_RequestRange:
		case *pb.RequestOp_RequestTxn:
			if !readsOnly(r.RequestTxn) {
				return false
			}
		default:
			return false
		}
	}
	return true
}
