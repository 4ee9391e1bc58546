package request

import (
	"context"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/protobuf/proto"
)

// keyOverhead is what etcd reckons a key takes beside itself and its value.
const keyOverhead = 256

// leaseOverhead is what it reckons a lease takes.
const leaseOverhead = 64

// room refuses a write that there is no room for.
func (g *Gate) room(ctx context.Context, req proto.Message) error {
	if g.cfg.Space == nil {
		return nil
	}
	if growth := growthOf(req); growth > 0 {
		return g.cfg.Space(ctx, growth)
	}
	return nil
}

// growthOf estimates by how many bytes a write makes the store grow, as etcd
// does: of a transaction the larger branch counts, and deletions are free.
func growthOf(req proto.Message) int64 {
	switch r := req.(type) {
	case *pb.PutRequest:
		return putGrowth(r)
	case *pb.LeaseGrantRequest:
		return leaseOverhead
	case *pb.TxnRequest:
		return max(branchGrowth(r.GetSuccess()), branchGrowth(r.GetFailure()))
	}
	return 0
}

func putGrowth(r *pb.PutRequest) int64 {
	return int64(keyOverhead + len(r.GetKey()) + len(r.GetValue()))
}

func branchGrowth(ops []*pb.RequestOp) (n int64) {
	for _, op := range ops {
		switch o := op.GetRequest().(type) {
		case *pb.RequestOp_RequestPut:
			n += putGrowth(o.RequestPut)
		case *pb.RequestOp_RequestTxn:
			n += growthOf(o.RequestTxn)
		}
	}
	return n
}
