package oracle

import (
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/protobuf/proto"
)

// Limits of both members, by default.
const (
	requestBytesMax = 3 << 19                   // of a write
	messageBytesMax = requestBytesMax + 512<<10 // of anything gRPC receives
	txnOpsMax       = 128
)

// leaseSecondsMin is above what a run takes.
const leaseSecondsMin = 2 * runSecondsMax

// limitSlackBytes is more than what the two put around a request differs by.
const limitSlackBytes = 256

// excluded tells which requests are not asked, because the answer of etcd 3.7.3
// is no measure. This is the whole list:
//
//   - Requests within limitSlackBytes of the limit of a write: each member
//     measures a request with its own wrapping around it.
//   - Transactions that delete by an open range ("\x00") and put with
//     ignore_value or ignore_lease: etcd's check of conflicting keys takes the
//     open range for an empty one, and its apply panics when the value to keep
//     is gone by then.
//   - Compactions at a revision whose transaction deleted by an open range and
//     put keys: of a key that it deleted and put, etcd removes the put version,
//     and ends its process when somebody reads it.
//   - Alarm requests with an action that does not exist: etcd applies nothing,
//     and its handler panics for want of an answer.
//   - Leases granted without an id, of which every cluster makes its own, and
//     for less than leaseSecondsMin, which might run out in the middle of other
//     requests: except one at a time, of which the end is awaited (expiry.go).
//
// rewritten are the revisions of such transactions.
func excluded(o Operation, rewritten map[int64]bool) bool {
	distance := proto.Size(o.Request) - requestBytesMax
	if -limitSlackBytes < distance && distance < limitSlackBytes {
		return true
	}
	switch r := o.Request.(type) {
	case *pb.TxnRequest:
		ignores := false
		eachOp(r, func(op *pb.RequestOp) {
			ignores = ignores || op.GetRequestPut().GetIgnoreValue() || op.GetRequestPut().GetIgnoreLease()
		})
		return ignores && rewrites(o)
	case *pb.CompactionRequest:
		return rewritten[r.GetRevision()]
	case *pb.LeaseGrantRequest:
		return r.GetID() == 0 || r.GetTTL() < leaseSecondsMin && r.GetID() != expiringLease
	case *pb.AlarmRequest:
		_, known := pb.AlarmRequest_AlarmAction_name[int32(r.GetAction())]
		return !known
	}
	return false
}

// rewrites tells whether an operation may delete a key and put it again.
func rewrites(o Operation) bool {
	r, ok := o.Request.(*pb.TxnRequest)
	opens, puts := false, false
	if ok {
		eachOp(r, func(op *pb.RequestOp) {
			opens = opens || string(op.GetRequestDeleteRange().GetRangeEnd()) == "\x00"
			puts = puts || op.GetRequestPut() != nil
		})
	}
	return opens && puts
}

// firstChunkKeys is how many keys etcd puts into the first chunk of a stream.
const firstChunkKeys = 10

// excludedAnswer tells which answers of etcd are no measure once they are seen.
// This is the whole list:
//
//   - Streams with a sort target and no sort order that do not end within their
//     first chunk: etcd does not refuse them, sorts each chunk by itself and
//     goes on, and counts on, behind the last key of the sorted chunk, so that
//     keys are missing or come twice and the count is wrong. A full first chunk
//     may be such a stream too, if all that is left was missed.
func excludedAnswer(o Operation, etcd Answer) bool {
	asked, ok := o.Request.(*pb.RangeRequest)
	if !ok || o.Method != RangeStream || asked.GetCountOnly() ||
		asked.GetSortTarget() == pb.RangeRequest_KEY || asked.GetSortOrder() != pb.RangeRequest_NONE {
		return false
	}
	answer, ok := etcd.Response.(*pb.RangeResponse)
	return ok && (answer.GetMore() || len(answer.GetKvs()) >= firstChunkKeys)
}

// eachOp visits every operation of a transaction, nested ones too.
func eachOp(t *pb.TxnRequest, visit func(*pb.RequestOp)) {
	for _, branch := range [][]*pb.RequestOp{t.GetSuccess(), t.GetFailure()} {
		for _, op := range branch {
			visit(op)
			eachOp(op.GetRequestTxn(), visit)
		}
	}
}
