package envelope

import (
	"fmt"
	"math"
	"time"

	"google.golang.org/protobuf/encoding/protowire"
)

// LeaseReads is the body of KindLeaseReads.
type LeaseReads struct {
	// PromiseMS is for how many milliseconds voters promise a leader, again and
	// again, not to help another to win; 0: not at all, and no lease reads.
	PromiseMS uint64
}

// Promise is PromiseMS as a duration.
func (l LeaseReads) Promise() time.Duration {
	return time.Duration(min(l.PromiseMS, math.MaxInt64/uint64(time.Millisecond))) * time.Millisecond
}

// Field numbers, as in envelope.proto.
const leaseReadsPromise = 1

// Encode serializes the record.
func (l LeaseReads) Encode() []byte { return appendVarint(nil, leaseReadsPromise, l.PromiseMS) }

// DecodeLeaseReads reverses Encode.
func DecodeLeaseReads(data []byte) (LeaseReads, error) {
	var l LeaseReads
	err := eachField(data, func(num protowire.Number, v uint64, _ []byte) error {
		if num == leaseReadsPromise {
			l.PromiseMS = v
		}
		return nil
	})
	if err != nil {
		return LeaseReads{}, fmt.Errorf("lease reads: %w", err)
	}
	return l, nil
}
