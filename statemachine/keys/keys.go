package keys

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
)

// Table names a table; it is the first byte of its keys.
type Table byte

// Tables are part of the format on disk: never reuse a letter.
const (
	Keys      Table = 'k' // user keys with their versions
	Revisions Table = 'r' // what changed at which revision
	Meta      Table = 'm' // records of the state as a whole
	Members   Table = 'n' // members of the cluster
	Removed   Table = 'x' // ids of removed members, for ever
	Proposers Table = 'd' // which batches of which proposer were applied
	Alarms    Table = 'a' // alarms by the member that has them
	Sessions  Table = 's' // sessions of clients with their last results
	Leases    Table = 'l' // leases with their times to live
	LeaseKeys Table = 'j' // which keys are attached to which lease
	// SessionResults holds the results of sessions before their last ones.
	SessionResults Table = 't'
	// ImportedAuth holds users, roles and settings of an etcd, by bucket and name,
	// in etcd's own encoding, format 1.
	ImportedAuth Table = 'i'
)

// All lists the tables in key order.
func All() []Table {
	return []Table{Alarms, Proposers, ImportedAuth, LeaseKeys, Keys, Leases, Meta, Members, Revisions, Sessions, SessionResults, Removed}
}

// Revision is one change in the history of the key space: Main counts writing
// requests, Sub the changes within one.
type Revision struct {
	Main int64
	Sub  uint32
}

// ErrMalformed is wrapped by the errors of Check and the decoders.
var ErrMalformed = errors.New("keys: malformed key")

const (
	sentinel = 0x00
	// The length byte at the end of a suffix counts itself.
	suffixMain    = 8 + 1
	suffixMainSub = 8 + 4 + 1

	revisionNameLen = 8 + 4
)

// AppendPrefix appends the key of the keys table without a revision. It sorts
// before every version of the user key, so it serves for seeks and bounds.
func AppendPrefix[K []byte | string](dst []byte, userKey K) []byte {
	dst = append(dst, byte(Keys))
	dst = append(dst, userKey...)
	return append(dst, sentinel)
}

// VersionLen returns the length of what AppendVersion appends for a user key of
// keyLen bytes.
func VersionLen(keyLen int, rev Revision) int {
	n := 1 + keyLen + 1 + suffixMain
	if rev.Sub != 0 {
		n += suffixMainSub - suffixMain
	}
	return n
}

// AppendVersion appends the key of one version of a user key. Main must be at
// least 1.
func AppendVersion[K []byte | string](dst []byte, userKey K, rev Revision) []byte {
	dst = AppendPrefix(dst, userKey)
	dst = binary.BigEndian.AppendUint64(dst, uint64(rev.Main))
	if rev.Sub == 0 {
		return append(dst, suffixMain)
	}
	dst = binary.BigEndian.AppendUint32(dst, rev.Sub)
	return append(dst, suffixMainSub)
}

// AppendSeek appends the key to seek to for the newest version of a user key
// at or below main revision main: one that sorts before all subs of main.
func AppendSeek(dst, userKey []byte, main int64) []byte {
	return AppendVersion(dst, userKey, Revision{Main: main, Sub: math.MaxUint32})
}

// DecodeVersion splits a key of the keys table. The user key aliases key.
func DecodeVersion(key []byte) (userKey []byte, rev Revision, err error) {
	n := len(key)
	if n < 2+suffixMain || key[0] != byte(Keys) {
		return nil, rev, fmt.Errorf("%w: %x is no version of a user key", ErrMalformed, key)
	}
	suffix := int(key[n-1])
	split := n - suffix
	if (suffix != suffixMain && suffix != suffixMainSub) || split < 2 || key[split-1] != sentinel {
		return nil, rev, fmt.Errorf("%w: suffix of %x", ErrMalformed, key)
	}
	rev.Main = int64(binary.BigEndian.Uint64(key[split:]))
	if suffix == suffixMainSub {
		rev.Sub = binary.BigEndian.Uint32(key[split+8:])
	}
	return key[1 : split-1], rev, nil
}

// Lengths of what AppendRevision and AppendRun append.
const (
	RevisionLen = 1 + revisionNameLen + 1
	RunLen      = RevisionLen + 1
)

// runMark follows the revision in the key of a run.
const runMark = 0x01

// AppendRevision appends the key of one change in the revisions table. It sorts
// before every run from that revision on.
func AppendRevision(dst []byte, rev Revision) []byte {
	return append(appendRevisionName(dst, rev), sentinel)
}

// AppendRun appends the key of a run of changes, the last of which is that of rev,
// in the revisions table.
func AppendRun(dst []byte, rev Revision) []byte {
	return append(appendRevisionName(dst, rev), runMark, sentinel)
}

func appendRevisionName(dst []byte, rev Revision) []byte {
	dst = append(dst, byte(Revisions))
	dst = binary.BigEndian.AppendUint64(dst, uint64(rev.Main))
	return binary.BigEndian.AppendUint32(dst, rev.Sub)
}

// DecodeRevision reverses AppendRevision and AppendRun.
func DecodeRevision(key []byte) (rev Revision, run bool, err error) {
	run = len(key) == RunLen && key[RunLen-2] == runMark
	if (len(key) != RevisionLen && !run) || key[0] != byte(Revisions) || key[len(key)-1] != sentinel {
		return Revision{}, false, fmt.Errorf("%w: %x is no key of the revisions table", ErrMalformed, key)
	}
	return Revision{
		Main: int64(binary.BigEndian.Uint64(key[1:])),
		Sub:  binary.BigEndian.Uint32(key[9:]),
	}, run, nil
}

// Named returns the key of a record with a name.
func Named(t Table, name string) []byte {
	dst := make([]byte, 0, len(name)+2)
	dst = append(dst, byte(t))
	dst = append(dst, name...)
	return append(dst, sentinel)
}

// Numbered returns the key of a record with a number; numbers sort ascending.
func Numbered(t Table, id uint64) []byte {
	dst := make([]byte, 0, 10)
	dst = append(dst, byte(t))
	dst = binary.BigEndian.AppendUint64(dst, id)
	return append(dst, sentinel)
}

// Number reverses Numbered.
func Number(key []byte) (uint64, error) {
	if len(key) != 10 || key[9] != sentinel {
		return 0, fmt.Errorf("%w: %x is no numbered record", ErrMalformed, key)
	}
	return binary.BigEndian.Uint64(key[1:]), nil
}

// NumberedPair returns the key of a record with two numbers; pairs sort
// ascending.
func NumberedPair(t Table, id, number uint64) []byte {
	dst := make([]byte, 0, pairLen)
	dst = append(dst, byte(t))
	dst = binary.BigEndian.AppendUint64(dst, id)
	dst = binary.BigEndian.AppendUint64(dst, number)
	return append(dst, sentinel)
}

const pairLen = 1 + 8 + 8 + 1

// NumberPair reverses NumberedPair.
func NumberPair(key []byte) (id, number uint64, err error) {
	if len(key) != pairLen || key[pairLen-1] != sentinel {
		return 0, 0, fmt.Errorf("%w: %x is no record with two numbers", ErrMalformed, key)
	}
	return binary.BigEndian.Uint64(key[1:]), binary.BigEndian.Uint64(key[9:]), nil
}

// Bounds returns the bounds of a table: [lower, upper).
func Bounds(t Table) (lower, upper []byte) {
	return []byte{byte(t), sentinel}, []byte{byte(t) + 1, sentinel}
}

// Check tells whether Pebble can take a key: it ends in 0x00, or in a revision
// of at least 1 after a 0x00.
func Check(key []byte) error {
	n := len(key)
	if n < 2 {
		return fmt.Errorf("%w: %x is too short", ErrMalformed, key)
	}
	suffix := int(key[n-1])
	switch {
	case suffix == 0:
		return nil
	case suffix != suffixMain && suffix != suffixMainSub:
		return fmt.Errorf("%w: %x ends in an unknown suffix length %d", ErrMalformed, key, suffix)
	case n < suffix+2 || key[n-suffix-1] != sentinel:
		return fmt.Errorf("%w: %x has no 0x00 before its suffix", ErrMalformed, key)
	case int64(binary.BigEndian.Uint64(key[n-suffix:])) < 1:
		return fmt.Errorf("%w: %x has a revision below 1", ErrMalformed, key)
	}
	return nil
}
