package request

import (
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// CheckRange validates a range request.
func CheckRange(r *pb.RangeRequest) error {
	if len(r.GetKey()) == 0 {
		return rpctypes.ErrGRPCEmptyKey
	}
	_, order := pb.RangeRequest_SortOrder_name[int32(r.GetSortOrder())]
	_, target := pb.RangeRequest_SortTarget_name[int32(r.GetSortTarget())]
	if !order || !target {
		return rpctypes.ErrGRPCInvalidSortOption
	}
	return nil
}

// CheckRangeStream validates a range request whose answer is streamed: chunks
// come in key order, so nothing that needs the whole result first.
func CheckRangeStream(r *pb.RangeRequest) error {
	if err := CheckRange(r); err != nil {
		return err
	}
	byKey := r.GetSortTarget() == pb.RangeRequest_KEY && r.GetSortOrder() == pb.RangeRequest_ASCEND
	if r.GetSortOrder() != pb.RangeRequest_NONE && !byKey {
		return status.Error(codes.Unimplemented, "RangeStream does not support custom sort orders")
	}
	if r.GetMinModRevision() != 0 || r.GetMaxModRevision() != 0 || r.GetMinCreateRevision() != 0 || r.GetMaxCreateRevision() != 0 {
		return status.Error(codes.Unimplemented, "RangeStream does not support revision filters")
	}
	return nil
}

// CheckPut validates a put request.
func CheckPut(r *pb.PutRequest) error {
	switch {
	case len(r.GetKey()) == 0:
		return rpctypes.ErrGRPCEmptyKey
	case r.GetIgnoreValue() && len(r.GetValue()) != 0:
		return rpctypes.ErrGRPCValueProvided
	case r.GetIgnoreLease() && r.GetLease() != 0:
		return rpctypes.ErrGRPCLeaseProvided
	}
	return nil
}

// CheckDelete validates a delete request.
func CheckDelete(r *pb.DeleteRangeRequest) error {
	if len(r.GetKey()) == 0 {
		return rpctypes.ErrGRPCEmptyKey
	}
	return nil
}

// CheckTxn validates a transaction with all its operations. opsMax bounds the
// longest list at every level, less the longest lists of the levels around it,
// which also bounds the depth of nesting.
func CheckTxn(r *pb.TxnRequest, opsMax int) error {
	if err := checkOps(r, opsMax); err != nil {
		return err
	}
	// Only behind the bound on operations is the overlap check cheap.
	for _, branch := range [2][]*pb.RequestOp{r.GetSuccess(), r.GetFailure()} {
		if _, err := branchFootprint(branch); err != nil {
			return err
		}
	}
	return nil
}

func checkOps(r *pb.TxnRequest, opsMax int) error {
	longest := max(len(r.GetCompare()), len(r.GetSuccess()), len(r.GetFailure()))
	if longest > opsMax {
		return rpctypes.ErrGRPCTooManyOps
	}
	for _, c := range r.GetCompare() {
		if len(c.GetKey()) == 0 {
			return rpctypes.ErrGRPCEmptyKey
		}
	}
	for _, branch := range [2][]*pb.RequestOp{r.GetSuccess(), r.GetFailure()} {
		for _, op := range branch {
			if err := checkOp(op, opsMax-longest); err != nil {
				return err
			}
		}
	}
	return nil
}

func checkOp(op *pb.RequestOp, opsMax int) error {
	switch o := op.GetRequest().(type) {
	case *pb.RequestOp_RequestRange:
		return CheckRange(o.RequestRange)
	case *pb.RequestOp_RequestPut:
		return CheckPut(o.RequestPut)
	case *pb.RequestOp_RequestDeleteRange:
		return CheckDelete(o.RequestDeleteRange)
	case *pb.RequestOp_RequestTxn:
		return checkOps(o.RequestTxn, opsMax)
	default:
		// etcd answers an empty operation so, misleading as it is.
		return rpctypes.ErrGRPCKeyNotFound
	}
}

// IsReadOnly reports whether a transaction consists of ranges only. A nested
// transaction makes it a write, as in etcd: it is then ordered by the log.
func IsReadOnly(r *pb.TxnRequest) bool {
	return eachOp(r, func(op *pb.RequestOp) bool { return op.GetRequestRange() != nil })
}

// IsSerializable reports whether a read-only transaction may be answered from
// local state. One without operations is not: its compares are reads and
// nothing says that they may be stale. (etcd serves it locally.)
func IsSerializable(r *pb.TxnRequest) bool {
	if len(r.GetSuccess())+len(r.GetFailure()) == 0 {
		return false
	}
	return eachOp(r, func(op *pb.RequestOp) bool { return op.GetRequestRange().GetSerializable() })
}

func eachOp(r *pb.TxnRequest, f func(*pb.RequestOp) bool) bool {
	for _, branch := range [2][]*pb.RequestOp{r.GetSuccess(), r.GetFailure()} {
		for _, op := range branch {
			if !f(op) {
				return false
			}
		}
	}
	return true
}
