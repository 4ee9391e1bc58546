package oracle

import (
	"bytes"
	"cmp"
	"slices"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// runSecondsMax is far above what the run of one seed takes.
const runSecondsMax = 3600

// masked is the value every masked number gets that is not 0.
const masked = 1

// Mask returns the answer without what may differ between two clusters. This is
// the whole list:
//
//   - Header.cluster_id and Header.member_id: names of the two clusters, made
//     from their addresses.
//   - Header.raft_term: how often each has elected a leader. A cluster of ours
//     starts in another term than etcd's.
//   - Status.leader, raft_term, raft_index and raft_applied_index: names and
//     numbers of the two clusters' own logs; etcd's has entries for its members
//     and its version at the beginning.
//   - Status.db_size and db_size_in_use, the latter also whether it is set: two
//     storage engines, and an empty store of ours uses nothing.
//   - Status.storage_version, also whether it is set: etcd sets it some time
//     after its start.
//   - The order of AlarmResponse.alarms and of Status.errors: etcd iterates
//     over a map.
//   - LeaseTimeToLive.ttl, if it is not more than what was granted and not less
//     by more than what a run takes: it is the time that is left.
//   - When a lease runs out, as long as it is not before its time (countdown in
//     expiry.go).
//   - The order of LeaseLeases.leases, which etcd sorts by that time, and of
//     LeaseTimeToLive.keys, which etcd takes from a map.
//   - How events are distributed over responses of a watch stream, as long as
//     those of one revision stay together, the order of responses to different
//     watches, and the headers of responses with events, which tell when they
//     were sent: a matter of sizes and speed (regroup in watch.go).
//   - Where the chunks of a RangeStream end: a matter of sizes and speed. They
//     are merged before they come here (collect in operation.go).
//
// Masked numbers keep whether they were set: a header that etcd fills and
// raft-kv leaves empty, or the other way round, is a difference. Everything
// else counts: revisions, counts, order, absent against empty, codes and texts.
func Mask(a Answer) Answer {
	watched := make([]*pb.WatchResponse, len(a.Watched))
	for i, w := range a.Watched {
		watched[i] = proto.Clone(w).(*pb.WatchResponse)
		maskHeaders(watched[i].ProtoReflect())
	}
	a.Watched = watched
	if a.Response == nil {
		return a
	}
	a.Response = proto.Clone(a.Response)
	maskHeaders(a.Response.ProtoReflect())
	switch r := a.Response.(type) {
	case *pb.StatusResponse:
		maskSet(&r.Leader, &r.RaftTerm, &r.RaftIndex, &r.RaftAppliedIndex)
		maskSet(&r.DbSize)
		r.DbSizeInUse = 0
		r.StorageVersion = ""
		slices.Sort(r.Errors)
	case *pb.LeaseTimeToLiveResponse:
		if gone := r.GrantedTTL - r.TTL; r.TTL > 0 && gone >= 0 && gone < runSecondsMax {
			r.TTL = masked
		}
		slices.SortFunc(r.Keys, bytes.Compare)
	case *pb.LeaseLeasesResponse:
		slices.SortFunc(r.Leases, func(a, b *pb.LeaseStatus) int { return cmp.Compare(a.GetID(), b.GetID()) })
	case *pb.AlarmResponse:
		slices.SortFunc(r.Alarms, func(a, b *pb.AlarmMember) int {
			return cmp.Or(cmp.Compare(a.GetMemberID(), b.GetMemberID()), cmp.Compare(a.GetAlarm(), b.GetAlarm()))
		})
	}
	return a
}

// maskSet masks the numbers that are set.
func maskSet[N int64 | uint64](numbers ...*N) {
	for _, n := range numbers {
		if *n != 0 {
			*n = masked
		}
	}
}

// maskHeaders masks the headers in m, also those of nested responses.
func maskHeaders(m protoreflect.Message) {
	if header, ok := m.Interface().(*pb.ResponseHeader); ok {
		maskSet(&header.ClusterId, &header.MemberId, &header.RaftTerm)
		return
	}
	m.Range(func(field protoreflect.FieldDescriptor, value protoreflect.Value) bool {
		switch {
		case field.Message() == nil:
		case field.IsList():
			for i := range value.List().Len() {
				maskHeaders(value.List().Get(i).Message())
			}
		default:
			maskHeaders(value.Message())
		}
		return true
	})
}

// equal tells whether two masked answers are the same.
func equal(a, b Answer) bool {
	return a.Code == b.Code && a.Text == b.Text && proto.Equal(a.Response, b.Response) &&
		slices.EqualFunc(a.Watched, b.Watched, func(a, b *pb.WatchResponse) bool { return proto.Equal(a, b) })
}
