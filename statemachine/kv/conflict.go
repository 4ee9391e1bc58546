package kv

import (
	"bytes"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

// changes are the puts and deletions of a transaction, in order, as far as its
// check has come.
type changes struct{ ops []*pb.RequestOp }

func (c *changes) add(op *pb.RequestOp) { c.ops = append(c.ops, op) }

// deletes tells whether key is gone once the changes are made: the last of
// them that is about it deletes it. Handlers refuse transactions that change a
// key twice, as etcd's do, but for the ranges without an end that neither
// understands.
func (c *changes) deletes(key []byte) bool {
	for i := len(c.ops) - 1; i >= 0; i-- {
		if put := c.ops[i].GetRequestPut(); put != nil {
			if bytes.Equal(put.GetKey(), key) {
				return false
			}
			continue
		}
		if r := c.ops[i].GetRequestDeleteRange(); covers(r.GetKey(), r.GetRangeEnd(), key) {
			return true
		}
	}
	return false
}

// covers tells whether a request for first and rangeEnd is about key.
func covers(first, rangeEnd, key []byte) bool {
	if isPoint(rangeEnd) {
		return bytes.Equal(first, key)
	}
	span := spanOf(first, rangeEnd)
	return bytes.Compare(first, key) <= 0 && (span.End == nil || bytes.Compare(key, span.End) < 0)
}
