package keys

import (
	"encoding/binary"
	"fmt"
)

// Lease ids are numbers with a sign to clients and without one here: negative
// ids sort last.

// leaseNameMin is the table byte, the id, one byte of a user key, the sentinel.
const leaseNameMin = 1 + 8 + 1 + 1

// Lease returns the key of a lease's record.
func Lease(id int64) []byte { return Numbered(Leases, uint64(id)) }

// LeaseKey returns the key of the record that a user key is attached to a
// lease. Those of one lease sort as the user keys do.
func LeaseKey(id int64, userKey []byte) []byte {
	dst := make([]byte, 0, leaseNameMin-1+len(userKey))
	dst = append(dst, byte(LeaseKeys))
	dst = binary.BigEndian.AppendUint64(dst, uint64(id))
	dst = append(dst, userKey...)
	return append(dst, sentinel)
}

// DecodeLeaseKey reverses LeaseKey. The user key aliases key.
func DecodeLeaseKey(key []byte) (id int64, userKey []byte, err error) {
	n := len(key)
	if n < leaseNameMin || key[0] != byte(LeaseKeys) || key[n-1] != sentinel {
		return 0, nil, fmt.Errorf("%w: %x attaches no key to a lease", ErrMalformed, key)
	}
	return int64(binary.BigEndian.Uint64(key[1:])), key[9 : n-1], nil
}

// LeaseKeyBounds returns the bounds of the keys attached to a lease: [lower,
// upper).
func LeaseKeyBounds(id int64) (lower, upper []byte) {
	lower = LeaseKey(id, nil)
	if next := uint64(id) + 1; next != 0 {
		return lower, LeaseKey(int64(next), nil)
	}
	_, upper = Bounds(LeaseKeys)
	return lower, upper
}
