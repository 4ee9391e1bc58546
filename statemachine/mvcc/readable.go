package mvcc

import (
	"bytes"

	"github.com/cockroachdb/pebble/v2"

	"raftkv/statemachine/keys"
)

// Readable tells the records that a complete sweep at the compacted revision
// leaves from those it removes, whether or not it has run.
type Readable struct {
	db        pebble.Reader
	compacted int64
	// last is the last key that had a version at or below compacted.
	last []byte
	seen bool
	it   *pebble.Iterator // over the keys table; nil until needed
	c    cursor
}

// NewReadable returns one for records of db. It must be closed.
func NewReadable(db pebble.Reader, compacted int64) *Readable {
	return &Readable{db: db, compacted: compacted}
}

// Version tells of a record of the keys table whether it stays. It must be
// called with all of them, in order.
func (r *Readable) Version(key, value []byte) (bool, error) {
	userKey, rev, err := decodeKey(key)
	if err != nil || rev.Main > r.compacted {
		return err == nil, err
	}
	if r.seen && bytes.Equal(r.last, userKey) {
		return false, nil
	}
	r.seen, r.last = true, append(r.last[:0], userKey...)
	return !isTombstone(value) || rev.Main == r.compacted, nil
}

// Change tells of a change that the revisions table records whether it stays.
func (r *Readable) Change(rev keys.Revision, userKey []byte) (_ bool, err error) {
	if rev.Main > r.compacted {
		return true, nil
	}
	if r.it == nil {
		if r.it, err = newIterator(r.db); err != nil {
			return false, err
		}
	}
	kv, found, err := r.c.get(r.it, userKey, r.compacted)
	return err == nil && kv.Revision == rev && (found || rev.Main == r.compacted), err
}

// Close lets the database go.
func (r *Readable) Close() error {
	if r.it == nil {
		return nil
	}
	return r.it.Close()
}
