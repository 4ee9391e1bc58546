package kv

import (
	"bytes"
	"math"
	"slices"
	"strconv"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"raftkv/statemachine/mvcc"
)

// The writes of a frame: each is a transaction of its own, like the requests
// above, but has no message for its answer.

// PutKey writes a key. value must stay unchanged until the writer's batch ends.
func PutKey(w *mvcc.Writer, leases Leases, key, value []byte, lease int64) error {
	if len(key) == 0 {
		return ErrEmptyKey
	}
	if err := checkLease(leases, lease); err != nil {
		return err
	}
	if err := w.Put(key, value, lease); err != nil {
		return err
	}
	w.EndTransaction()
	return nil
}

// AppendKey adds value to the end of the key's value and returns the length
// after it; see Append.
func AppendKey(w *mvcc.Writer, leases Leases, key, value []byte) (length int, err error) {
	resp, err := Append(w, leases, &pb.PutRequest{Key: key, Value: value, PrevKv: true})
	if err != nil {
		return 0, err
	}
	return len(resp.GetPrevKv().GetValue()) + len(value), nil
}

// Expectation is what a swap asks of the key as it is: the value Value if
// ByValue is set, else the modification revision Revision, 0 for a missing key.
type Expectation struct {
	ByValue  bool
	Value    []byte
	Revision int64
}

func (e *Expectation) met(kv *mvcc.KeyValue, found bool) bool {
	switch {
	case e.ByValue:
		return found && bytes.Equal(kv.Value, e.Value)
	case !found:
		return e.Revision == 0
	}
	return kv.Revision.Main == e.Revision
}

// CompareAndSwap writes a key if it is as expected. found is the modification
// revision that the key had, 0 if it was missing.
func CompareAndSwap(w *mvcc.Writer, leases Leases, key, value []byte, lease int64, e Expectation) (swapped bool, found int64, err error) {
	if len(key) == 0 {
		return false, 0, ErrEmptyKey
	}
	if err := checkLease(leases, lease); err != nil {
		return false, 0, err
	}
	kv, exists, err := w.Get(key, w.Revision())
	if err != nil {
		return false, 0, err
	}
	if exists {
		found = kv.Revision.Main
	}
	if !e.met(&kv, exists) {
		return false, found, nil
	}
	if err := w.Put(key, value, lease); err != nil {
		return false, 0, err
	}
	w.EndTransaction()
	return true, found, nil
}

// Increment adds delta to the number that a key holds in decimal, a missing key
// counting as 0, and returns the sum. The key keeps its lease.
func Increment(w *mvcc.Writer, key []byte, delta int64) (int64, error) {
	if len(key) == 0 {
		return 0, ErrEmptyKey
	}
	kv, exists, err := w.Get(key, w.Revision())
	if err != nil {
		return 0, err
	}
	n := int64(0)
	if exists {
		if n, err = number(kv.Value); err != nil {
			return 0, err
		}
	}
	if delta > 0 && n > math.MaxInt64-delta || delta < 0 && n < math.MinInt64-delta {
		return 0, ErrOverflow
	}
	n += delta
	if err := w.Put(key, strconv.AppendInt(nil, n, 10), kv.Lease); err != nil {
		return 0, err
	}
	w.EndTransaction()
	return n, nil
}

// digitsMax is the length of the longest number of 64 bits.
const digitsMax = len("-9223372036854775808")

// number reads what Increment writes: no sign but a minus, no leading zeros.
func number(value []byte) (int64, error) {
	if len(value) > digitsMax {
		return 0, ErrNotNumber
	}
	n, err := strconv.ParseInt(string(value), 10, 64)
	if err != nil || !slices.Equal(strconv.AppendInt(nil, n, 10), value) {
		return 0, ErrNotNumber
	}
	return n, nil
}
