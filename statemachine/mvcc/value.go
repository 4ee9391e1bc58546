package mvcc

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/cockroachdb/pebble/v2"

	"raftkv/statemachine/keys"
)

// Errors of reads.
var (
	// ErrCompacted: the revision asked for is below the compacted revision.
	ErrCompacted = errors.New("mvcc: required revision has been compacted")
	// ErrFutureRevision: the revision asked for does not exist yet.
	ErrFutureRevision = errors.New("mvcc: required revision is a future revision")
	// ErrCorrupt: a record on disk is not what was written.
	ErrCorrupt = errors.New("mvcc: damaged record")
)

// FirstRevision is the revision of an empty key space.
const FirstRevision = 1

// NeverCompacted is the compacted revision before the first compaction.
const NeverCompacted = -1

// KeyValue is one version of a key. Key and Value alias memory of the reader
// that handed it out, and are valid until its next call.
type KeyValue struct {
	Key            []byte
	Value          []byte
	Revision       keys.Revision // of this version: etcd's mod revision is Main
	CreateRevision int64
	Version        int64
	Lease          int64
}

// Versions on disk: a tag, then for a value its create revision, version and
// lease as unsigned varints, then the value itself. The tags are part of the
// format.
const (
	tagValue     = 1
	tagTombstone = 2

	tombstoneLen = 1
)

// attributeFirst marks a value that lies apart from its key as that of the first
// version of a key, without a lease: its key tells the rest of its head. It is part
// of the format.
const attributeFirst = 1

// Attribute is what the reference to a value tells of it, so that a put of a key
// that was written once need not read its value. 0 tells nothing.
func Attribute(key []byte, _ int, value []byte) (pebble.ShortAttribute, error) {
	_, rev, err := keys.DecodeVersion(key)
	if err != nil {
		return 0, nil // a record of another table
	}
	var kv KeyValue
	exists, err := kv.decode(value)
	if err != nil || !exists || kv.Version != 1 || kv.Lease != 0 || kv.CreateRevision != rev.Main {
		return 0, nil // whoever reads the value finds what is wrong with it
	}
	return attributeFirst, nil
}

func isTombstone(data []byte) bool { return len(data) == tombstoneLen && data[0] == tagTombstone }

func uvarintLen(v uint64) int {
	n := 1
	for ; v >= 0x80; v >>= 7 {
		n++
	}
	return n
}

// encodedLen returns the length of what encode writes.
func (kv *KeyValue) encodedLen() int {
	return 1 + uvarintLen(uint64(kv.CreateRevision)) + uvarintLen(uint64(kv.Version)) +
		uvarintLen(uint64(kv.Lease)) + len(kv.Value)
}

func (kv *KeyValue) encode(dst []byte) {
	dst[0] = tagValue
	n := 1
	n += binary.PutUvarint(dst[n:], uint64(kv.CreateRevision))
	n += binary.PutUvarint(dst[n:], uint64(kv.Version))
	n += binary.PutUvarint(dst[n:], uint64(kv.Lease))
	copy(dst[n:], kv.Value)
}

// decode fills everything but Key and Revision. Value aliases data. It reports
// false for a tombstone.
func (kv *KeyValue) decode(data []byte) (exists bool, err error) {
	if isTombstone(data) {
		return false, nil
	}
	if len(data) == 0 || data[0] != tagValue {
		return false, fmt.Errorf("%w: version of unknown kind %.8x", ErrCorrupt, data)
	}
	rest := data[1:]
	for _, field := range []*int64{&kv.CreateRevision, &kv.Version, &kv.Lease} {
		v, n := binary.Uvarint(rest)
		if n <= 0 {
			return false, fmt.Errorf("%w: header of version %.16x", ErrCorrupt, data)
		}
		*field = int64(v)
		rest = rest[n:]
	}
	kv.Value = rest
	return true, nil
}
