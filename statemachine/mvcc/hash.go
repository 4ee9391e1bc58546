package mvcc

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"slices"

	"github.com/cockroachdb/pebble/v2"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"google.golang.org/protobuf/proto"

	"raftkv/statemachine/keys"
)

// Hasher computes etcd's hash of the key space: CRC-32 (Castagnoli) over the
// name of etcd's bucket, then key and value of every record of it, as etcd
// writes them, in the order of revisions up to Revision.
//
// Of the records at or below Compacted, etcd counts those alone that it would
// keep if it compacted at Revision now, namely the versions that are current
// then; but if there is none at all (keepsAny), everything that its compaction
// at Compacted left. A tombstone of Compacted never counts.
type Hasher struct {
	Compacted, Revision int64
	// ForCompaction: Revision is being compacted, and Compacted is the revision
	// compacted before. A tombstone of Revision is then one of the records kept.
	ForCompaction bool

	started bool
	keeps   bool // a compaction at Revision would keep anything
	sum     uint32
	join    *joiner
	next    keys.Revision
	buf     []byte
	seekKey []byte
}

// bucket is the name of etcd's bucket of versions.
const bucket = "key"

// Sum returns the hash once everything up to Revision is hashed.
func (h *Hasher) Sum() uint32 { return h.sum }

// Step hashes up to limit records and reports whether that were all. Versions
// above Compacted must all be there; db may differ from call to call in what
// is removed at and below it.
func (h *Hasher) Step(db pebble.Reader, limit int) (done bool, err error) {
	if !h.started {
		if err := h.start(db); err != nil {
			return false, err
		}
	}
	if h.Revision < FirstRevision {
		return true, nil
	}
	changes, done, err := readChanges(db, h.next, h.Revision, limit)
	if err != nil || len(changes) == 0 {
		return done, err
	}
	it, err := newIterator(db)
	if err != nil {
		return false, err
	}
	err = h.changes(it, changes)
	if err := errors.Join(err, it.Close()); err != nil {
		return false, fmt.Errorf("hashing up to revision %d: %w", h.Revision, err)
	}
	return done, nil
}

// record is the checksum of a record in etcd's form and its length in bytes;
// one that etcd skips has neither.
type record struct {
	sum    uint32
	length uint64
}

// changes hashes records. They are read in the order of the keys table, since
// neighbours share blocks, and joined in that of revisions.
func (h *Hasher) changes(it *pebble.Iterator, changes []change) (err error) {
	next := nextRevision(changes[len(changes)-1].revision)
	slices.SortFunc(changes, compareChanges)
	records := make([]record, len(changes))
	for _, c := range changes {
		if records[c.place], err = h.change(it, c); err != nil {
			return err
		}
	}
	for _, r := range records {
		if r.length > 0 {
			h.sum = h.join.join(h.sum, r.sum, r.length)
		}
	}
	h.next = next
	return nil
}

func (h *Hasher) start(db pebble.Reader) error {
	h.started = true
	h.sum = crc32.Checksum([]byte(bucket), castagnoli)
	h.join = newJoiner()
	h.next = keys.Revision{Main: FirstRevision}
	if h.Revision < FirstRevision {
		return nil
	}
	var err error
	h.keeps, err = keepsAny(db, h.Revision, h.ForCompaction)
	return err
}

// change hashes one record, unless etcd skips it.
func (h *Hasher) change(it *pebble.Iterator, c change) (record, error) {
	if c.revision.Main > h.Compacted {
		return h.exactly(it, c)
	}
	current := h.Revision
	if !h.keeps {
		current = h.Compacted
	}
	kv, found, err := h.read(it, c.key, keys.AppendSeek(h.seekKey[:0], c.key, current))
	if err != nil || kv.Revision != c.revision || !found {
		return record{}, err
	}
	return h.record(&kv, true)
}

// exactly hashes the record of a version that must be there.
func (h *Hasher) exactly(it *pebble.Iterator, c change) (record, error) {
	kv, found, err := h.read(it, c.key, keys.AppendVersion(h.seekKey[:0], c.key, c.revision))
	if err != nil {
		return record{}, err
	}
	if kv.Revision != c.revision {
		return record{}, fmt.Errorf("%w: no version of %.64q at revision %v", ErrCorrupt, c.key, c.revision)
	}
	return h.record(&kv, found)
}

// read reads the first version of key at or behind seekKey; it has no revision
// if there is none, and found is false for a tombstone.
func (h *Hasher) read(it *pebble.Iterator, key, seekKey []byte) (kv KeyValue, found bool, err error) {
	h.seekKey = seekKey
	if !it.SeekPrefixGE(seekKey) {
		return kv, false, wrapRead(it.Error())
	}
	kv.Key = key
	if _, kv.Revision, err = decodeKey(it.Key()); err != nil {
		return kv, false, err
	}
	found, err = decodeValue(it, &kv)
	return kv, found, err
}

// record hashes a record in etcd's form: the key is main revision, '_', sub
// revision and, for a tombstone, 't'; the value a mvccpb.KeyValue.
func (h *Hasher) record(kv *KeyValue, exists bool) (r record, err error) {
	rev := kv.Revision
	h.buf = binary.BigEndian.AppendUint64(h.buf[:0], uint64(rev.Main))
	h.buf = append(h.buf, '_')
	h.buf = binary.BigEndian.AppendUint64(h.buf, uint64(rev.Sub))
	value := mvccpb.KeyValue{Key: kv.Key}
	if exists {
		value.Value, value.Lease = kv.Value, kv.Lease
		value.CreateRevision, value.ModRevision, value.Version = kv.CreateRevision, rev.Main, kv.Version
	} else {
		h.buf = append(h.buf, 't')
	}
	if h.buf, err = (proto.MarshalOptions{}).MarshalAppend(h.buf, &value); err != nil {
		return record{}, fmt.Errorf("encoding a key value: %w", err)
	}
	return record{sum: crc32.Checksum(h.buf, castagnoli), length: uint64(len(h.buf))}, nil
}
