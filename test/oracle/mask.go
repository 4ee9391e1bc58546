package oracle

import (
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// masked is the value every masked number gets that is not 0.
const masked = 1

// Mask returns the answer without what may differ between two clusters. This is
// the whole list:
//
//   - Header.cluster_id and Header.member_id: names of the two clusters, made
//     from their addresses.
//   - Header.raft_term: how often each has elected a leader. A cluster of ours
//     starts in another term than etcd's.
//   - Where the chunks of a RangeStream end: a matter of sizes and speed. They
//     are merged before they come here (collect in operation.go).
//
// Masked numbers keep whether they were set: a header that etcd fills and
// raft-kv leaves empty, or the other way round, is a difference. Everything
// else counts: revisions, counts, order, absent against empty, codes and texts.
func Mask(a Answer) Answer {
	if a.Response == nil {
		return a
	}
	a.Response = proto.Clone(a.Response)
	maskHeaders(a.Response.ProtoReflect())
	return a
}

// maskHeaders masks the headers in m, also those of nested responses.
func maskHeaders(m protoreflect.Message) {
	if header, ok := m.Interface().(*pb.ResponseHeader); ok {
		for _, number := range []*uint64{&header.ClusterId, &header.MemberId, &header.RaftTerm} {
			if *number != 0 {
				*number = masked
			}
		}
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
	return a.Code == b.Code && a.Text == b.Text && proto.Equal(a.Response, b.Response)
}
