package frames

import (
	"google.golang.org/protobuf/encoding/protowire"
)

// WriteResult is the result of one write.
type WriteResult struct {
	// Revision of the store after the write.
	Revision int64
	// Refusal is a kvpb.Refusal.
	Refusal int32
	// Deleted keys of a delete; Length in bytes after an append; Value after an
	// increment.
	Deleted, Length, Value int64
	// Swapped tells of a swap whether it found what it expected, FoundRevision
	// which modification revision it found, 0 for a missing key.
	Swapped       bool
	FoundRevision int64
	// Txn is a serialized etcdserverpb.TxnResponse.
	Txn []byte
}

// WriteResults reads a serialized WriteResults message, one result for each
// write. The zero value has none.
type WriteResults struct {
	rest   []byte
	result WriteResult
	count  uint64 // of writes that result still stands for
}

// NewWriteResults reads data.
func NewWriteResults(data []byte) WriteResults { return WriteResults{rest: data} }

// More tells whether there is another result.
func (w *WriteResults) More() bool { return w.count > 0 || len(w.rest) > 0 }

// Next returns the next result; it is valid until the next call.
func (w *WriteResults) Next() (*WriteResult, error) {
	if w.count > 0 {
		w.count--
		w.result.Revision++
		return &w.result, nil
	}
	item, rest, err := nextItem(w.rest)
	if err != nil {
		return nil, err
	}
	w.rest, w.result = rest, WriteResult{}
	r := &w.result
	err = eachField(item, func(num protowire.Number, v uint64, b []byte) {
		switch num {
		case 1:
			w.count = max(v, 1) - 1
		case 2:
			r.Revision = int64(v)
		case 3:
			r.Refusal = int32(v)
		case 4:
			r.Deleted = int64(v)
		case 5:
			r.Length = int64(v)
		case 6:
			r.Swapped = v != 0
		case 7:
			r.Value = protowire.DecodeZigZag(v)
		case 8:
			r.Txn = b
		case 9:
			r.FoundRevision = int64(v)
		}
	})
	return r, err
}
