package kv

import "go.etcd.io/etcd/api/v3/mvccpb"

// overheadBytes is more than the encoding of a key value adds to its key and
// value.
const overheadBytes = 64

// Budget bounds what the ranges of one request may hold in memory, which is
// about the size of the answer, or more where a limit or keys_only applies
// after sorting. A nil one has no bound.
type Budget struct {
	left  int64
	taken bool
}

// NewBudget returns a budget of so many bytes.
func NewBudget(bytesMax int64) *Budget { return &Budget{left: bytesMax} }

// take refuses what does not fit. One key value always fits, so that reading
// one by one works under any bound.
func (b *Budget) take(kv *mvccpb.KeyValue) error {
	if b == nil {
		return nil
	}
	b.left -= int64(len(kv.Key)+len(kv.Value)) + overheadBytes
	if b.left < 0 && b.taken {
		return ErrResponseTooLarge
	}
	b.taken = true
	return nil
}
