package mvcc

import (
	"bytes"
	"errors"
	"fmt"
	"slices"

	"github.com/cockroachdb/pebble/v2"

	"raftkv/statemachine/keys"
)

// Change is one change of the key space. Its memory is nobody else's to change.
type Change struct {
	// KeyValue has, of a deletion, a key and a revision alone.
	KeyValue
	Deleted bool
}

// Creates tells whether the key did not exist before.
func (c *Change) Creates() bool { return !c.Deleted && c.CreateRevision == c.Revision.Main }

// HistoryLimits bound what one call of ReadHistory does. A main revision is
// never cut, so a call may exceed them by what one transaction changed.
type HistoryLimits struct {
	// ScanMax is the number of changes looked at, BytesMax the size of the keys
	// and values returned.
	ScanMax, BytesMax int
}

// ReadHistory returns the changes of the keys that want names (nil: of all),
// from main revision from up to last, in order, as far as the limits allow. next
// is the first main revision that was not looked at.
//
// The caller sees to it that from is not compacted; that has to be looked up
// after the call, since a sweep may have run before it.
func ReadHistory(db pebble.Reader, from, last int64, limits HistoryLimits, want func(key []byte) bool) (changes []Change, next int64, err error) {
	if from > last {
		return nil, from, nil
	}
	// Versions first: a sweep in between takes changes away, never versions alone.
	versions, err := newIterator(db)
	if err != nil {
		return nil, from, err
	}
	records, err := openChanges(db, keys.Revision{Main: from})
	if err != nil {
		return nil, from, errors.Join(err, versions.Close())
	}
	r := historyReader{records: records, versions: versions, limits: limits, want: want}
	next, err = r.read(from, last)
	if err := errors.Join(err, records.close(), versions.Close()); err != nil {
		return nil, from, fmt.Errorf("reading history from revision %d: %w", from, err)
	}
	return r.changes, next, nil
}

type historyReader struct {
	records  *changeRecords
	versions *pebble.Iterator
	limits   HistoryLimits
	want     func(key []byte) bool

	changes        []Change
	scanned, bytes int
	seekKey        []byte
}

func (r *historyReader) read(from, last int64) (next int64, err error) {
	at := from
	for r.records.next() {
		for _, c := range r.records.changes {
			main := c.revision.Main
			switch {
			case main < from:
				continue
			case main > last:
				return last + 1, nil
			case main != at && (r.scanned >= r.limits.ScanMax || r.bytes >= r.limits.BytesMax):
				return main, nil
			}
			at = main
			r.scanned++
			if r.want != nil && !r.want(c.key) {
				continue
			}
			if err := r.add(c.key, c.revision); err != nil {
				return 0, err
			}
		}
	}
	return last + 1, nil
}

// add reads the version of key that was written at rev.
func (r *historyReader) add(key []byte, rev keys.Revision) error {
	r.seekKey = keys.AppendVersion(r.seekKey[:0], key, rev)
	if !r.versions.SeekPrefixGE(r.seekKey) || !bytes.Equal(r.versions.Key(), r.seekKey) {
		return errors.Join(fmt.Errorf("%w: no version of %.64q at revision %v", ErrCorrupt, key, rev), r.versions.Error())
	}
	c := Change{KeyValue: KeyValue{Key: slices.Clone(key), Revision: rev}}
	found, err := decodeValue(r.versions, &c.KeyValue)
	if err != nil {
		return err
	}
	c.Deleted = !found
	c.Value = slices.Clone(c.Value)
	r.bytes += len(c.Key) + len(c.Value)
	r.changes = append(r.changes, c)
	return nil
}
