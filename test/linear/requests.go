package linear

import (
	"fmt"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
)

// PutRequest is a Put, or the write of an Append, as etcd's API has it.
func (op *Operation) PutRequest() *pb.PutRequest {
	return &pb.PutRequest{Key: []byte(op.Key), Value: []byte(op.Value)}
}

// RangeRequest reads the key.
func (op *Operation) RangeRequest() *pb.RangeRequest { return &pb.RangeRequest{Key: []byte(op.Key)} }

// TxnRequest is a CAS: it puts if the key has the expected value (none: does not
// exist), and tells the value if it has not.
func (op *Operation) TxnRequest() *pb.TxnRequest {
	key := []byte(op.Key)
	compare := &pb.Compare{Key: key, Target: pb.Compare_VALUE, TargetUnion: &pb.Compare_Value{Value: []byte(op.Expected)}}
	if op.Expected == "" {
		compare = &pb.Compare{Key: key, Target: pb.Compare_VERSION, TargetUnion: &pb.Compare_Version{}}
	}
	return &pb.TxnRequest{
		Compare: []*pb.Compare{compare},
		Success: []*pb.RequestOp{{Request: &pb.RequestOp_RequestPut{RequestPut: op.PutRequest()}}},
		Failure: []*pb.RequestOp{{Request: &pb.RequestOp_RequestRange{RequestRange: op.RangeRequest()}}},
	}
}

// Observe takes the answer of a read of the key.
func (op *Operation) Observe(kvs []*mvccpb.KeyValue) {
	if len(kvs) > 0 {
		op.Found, op.Revision = string(kvs[0].GetValue()), kvs[0].GetModRevision()
	}
}

// Answer takes the answer to any of the requests.
func (op *Operation) Answer(value any) {
	switch r := value.(type) {
	case *pb.PutResponse:
		op.Revision = r.GetHeader().GetRevision()
	case *pb.RangeResponse:
		op.Observe(r.GetKvs())
	case *pb.TxnResponse:
		op.Swapped = r.GetSucceeded()
		if op.Swapped {
			op.Revision = r.GetHeader().GetRevision()
			return
		}
		op.Observe(r.GetResponses()[0].GetResponseRange().GetKvs())
	default:
		panic(fmt.Sprintf("answer of type %T", value))
	}
}
