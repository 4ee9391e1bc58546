package kv

import (
	"bytes"
	"cmp"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"raftkv/statemachine/mvcc"
)

// compareAll tells whether all comparisons hold.
func compareAll(r mvcc.Reader, compares []*pb.Compare) (bool, error) {
	for _, c := range compares {
		if holds, err := compareKeys(r, c); err != nil || !holds {
			return false, err
		}
	}
	return true, nil
}

// compareKeys tells whether a comparison holds for all keys it names. A key
// that does not exist compares as one with every number 0, but never by value:
// absent and empty would be the same.
func compareKeys(r mvcc.Reader, c *pb.Compare) (bool, error) {
	holds, none := true, true
	err := visitAll(r, c.GetKey(), c.GetRangeEnd(), r.Revision(), func(kv *mvcc.KeyValue) (bool, error) {
		none = false
		holds = compareOne(c, kv)
		return holds, nil
	})
	if err == nil && none {
		holds = c.GetTarget() != pb.Compare_VALUE && compareOne(c, &mvcc.KeyValue{})
	}
	return holds, err
}

func compareOne(c *pb.Compare, kv *mvcc.KeyValue) bool {
	order := 0
	switch c.GetTarget() {
	case pb.Compare_VALUE:
		order = bytes.Compare(kv.Value, c.GetValue())
	case pb.Compare_CREATE:
		order = cmp.Compare(kv.CreateRevision, c.GetCreateRevision())
	case pb.Compare_MOD:
		order = cmp.Compare(kv.Revision.Main, c.GetModRevision())
	case pb.Compare_VERSION:
		order = cmp.Compare(kv.Version, c.GetVersion())
	case pb.Compare_LEASE:
		order = cmp.Compare(kv.Lease, c.GetLease())
	}
	switch c.GetResult() {
	case pb.Compare_EQUAL:
		return order == 0
	case pb.Compare_NOT_EQUAL:
		return order != 0
	case pb.Compare_GREATER:
		return order > 0
	case pb.Compare_LESS:
		return order < 0
	}
	// An unknown result holds, as in etcd.
	return true
}
