package lease

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// ErrCorrupt: a record on disk is not what was written.
var ErrCorrupt = errors.New("lease: damaged record")

// TTLSecondsMax is the longest time to live, the same as etcd's.
const TTLSecondsMax = 9_000_000_000

// Record is a lease without its keys.
type Record struct {
	// TTLSeconds is the time to live that was granted.
	TTLSeconds int64
	// RemainingSeconds is what a leader has recorded to be left of it; 0: all.
	RemainingSeconds int64
}

// LeftSeconds is what is known to be left.
func (r Record) LeftSeconds() int64 {
	if r.RemainingSeconds > 0 {
		return r.RemainingSeconds
	}
	return r.TTLSeconds
}

// Encode returns the record as it is on disk: both numbers as unsigned varints.
func (r Record) Encode() []byte {
	return binary.AppendUvarint(binary.AppendUvarint(nil, uint64(r.TTLSeconds)), uint64(r.RemainingSeconds))
}

// DecodeRecord reverses Encode.
func DecodeRecord(b []byte) (Record, error) {
	ttl, n := binary.Uvarint(b)
	if n > 0 {
		if remaining, m := binary.Uvarint(b[n:]); m > 0 && n+m == len(b) {
			return Record{int64(ttl), int64(remaining)}, nil
		}
	}
	return Record{}, fmt.Errorf("%w: %x", ErrCorrupt, b)
}
