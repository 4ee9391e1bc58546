package envelope

import (
	"fmt"

	"google.golang.org/protobuf/encoding/protowire"
)

// LeaseRevoke is the body of KindLeaseRevoke.
type LeaseRevoke struct {
	ID int64
	// Term is the raft term of the leader that found the lease expired; it has
	// no effect in another term, in which the lease may have been renewed. 0: a
	// client revokes.
	Term uint64
}

// LeaseRemaining is the body of KindLeaseRemaining: what the leader of Term
// counted. In another term it has no effect.
type LeaseRemaining struct {
	Term   uint64
	Leases []RemainingTTL
}

// RemainingTTL is what is left of a lease; 0 seconds: its whole time to live.
type RemainingTTL struct {
	ID, Seconds int64
}

// Field numbers, as in envelope.proto.
const (
	revokeID   = 1
	revokeTerm = 2

	remainingTerm  = 1
	remainingLease = 2

	remainingID      = 1
	remainingSeconds = 2
)

// Encode serializes the record.
func (l LeaseRevoke) Encode() []byte {
	return appendVarint(appendVarint(nil, revokeID, uint64(l.ID)), revokeTerm, l.Term)
}

// DecodeLeaseRevoke reverses Encode.
func DecodeLeaseRevoke(data []byte) (LeaseRevoke, error) {
	var l LeaseRevoke
	err := eachField(data, func(num protowire.Number, v uint64, _ []byte) error {
		switch num {
		case revokeID:
			l.ID = int64(v)
		case revokeTerm:
			l.Term = v
		}
		return nil
	})
	if err != nil {
		return LeaseRevoke{}, fmt.Errorf("lease revoke: %w", err)
	}
	return l, nil
}

// Encode serializes the record.
func (l LeaseRemaining) Encode() []byte {
	b := appendVarint(nil, remainingTerm, l.Term)
	for _, r := range l.Leases {
		one := appendVarint(appendVarint(nil, remainingID, uint64(r.ID)), remainingSeconds, uint64(r.Seconds))
		b = protowire.AppendTag(b, remainingLease, protowire.BytesType)
		b = protowire.AppendBytes(b, one)
	}
	return b
}

// DecodeLeaseRemaining reverses Encode.
func DecodeLeaseRemaining(data []byte) (LeaseRemaining, error) {
	var l LeaseRemaining
	err := eachField(data, func(num protowire.Number, v uint64, b []byte) error {
		switch num {
		case remainingTerm:
			l.Term = v
		case remainingLease:
			var r RemainingTTL
			if err := eachField(b, func(num protowire.Number, v uint64, _ []byte) error {
				switch num {
				case remainingID:
					r.ID = int64(v)
				case remainingSeconds:
					r.Seconds = int64(v)
				}
				return nil
			}); err != nil {
				return err
			}
			l.Leases = append(l.Leases, r)
		}
		return nil
	})
	if err != nil {
		return LeaseRemaining{}, fmt.Errorf("lease remaining: %w", err)
	}
	return l, nil
}
