package oracle

import (
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc/codes"
)

// knownDifference tells which differences are faults of raft-kv that are known
// and not fixed yet. They are counted, not failed; both members have the same
// state after them. This is the whole list, and it is to be empty:
//
//   - HashKV of a compaction that is the oldest etcd remembers: raft-kv forgets
//     its hash one compaction too early when a compaction follows right after a
//     sweep, because the compaction just swept still counts as one to come. That
//     of a compaction at revision 0 is asked for as 0, like the newest revision.
//   - Writes while alarms of both types are active: etcd says that the cluster
//     is corrupt, raft-kv that there is no space.
func knownDifference(d *Difference) bool {
	switch r := d.Operation.Request.(type) {
	case *pb.HashKVRequest:
		etcd, ok := d.Etcd.Response.(*pb.HashKVResponse)
		forgotten := d.RaftKV.Code == codes.OutOfRange || r.GetRevision() == 0 && etcd.GetHashRevision() == 0
		return ok && forgotten
	case *pb.PutRequest, *pb.TxnRequest:
		return d.Etcd.Code == codes.DataLoss && d.RaftKV.Code == codes.ResourceExhausted
	}
	return false
}
