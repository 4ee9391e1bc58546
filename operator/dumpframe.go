package operator

import (
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/protobuf/proto"

	"raftkv/statemachine/envelope"
)

// translateFrame returns what each write of a frame amounts to; nil in place of
// one that etcd has no request for.
func translateFrame(c *envelope.Command) (out []*pb.InternalRaftRequest) {
	f, err := envelope.DecodeFrame(c.Body)
	if err != nil {
		return []*pb.InternalRaftRequest{nil}
	}
	var w envelope.Write
	for rest := f.Writes; len(rest) > 0; {
		if rest, err = envelope.NextWrite(rest, &w); err != nil {
			return append(out, nil)
		}
		out = append(out, translateWrite(&w))
	}
	return out
}

func translateWrite(w *envelope.Write) *pb.InternalRaftRequest {
	put := &pb.PutRequest{Key: w.Key, Value: w.Value, Lease: w.Lease}
	switch w.Op {
	case envelope.WritePut, envelope.WriteAppend:
		return &pb.InternalRaftRequest{Put: put}
	case envelope.WriteDelete:
		return &pb.InternalRaftRequest{DeleteRange: &pb.DeleteRangeRequest{Key: w.Key, RangeEnd: w.RangeEnd}}
	case envelope.WriteCompareAndSwap:
		return &pb.InternalRaftRequest{Txn: &pb.TxnRequest{
			Compare: []*pb.Compare{expectation(w)},
			Success: []*pb.RequestOp{{Request: &pb.RequestOp_RequestPut{RequestPut: put}}},
		}}
	case envelope.WriteTxn:
		txn := &pb.TxnRequest{}
		if err := (proto.UnmarshalOptions{DiscardUnknown: true}).Unmarshal(w.Txn, txn); err != nil {
			return nil
		}
		return &pb.InternalRaftRequest{Txn: txn}
	}
	return nil
}

func expectation(w *envelope.Write) *pb.Compare {
	c := &pb.Compare{Key: w.Key, Result: pb.Compare_EQUAL, Target: pb.Compare_MOD,
		TargetUnion: &pb.Compare_ModRevision{ModRevision: w.ExpectedRevision}}
	if w.ByValue {
		c.Target, c.TargetUnion = pb.Compare_VALUE, &pb.Compare_Value{Value: w.Expected}
	}
	return c
}
