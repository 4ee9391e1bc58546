package mvcc

import (
	"errors"

	"github.com/cockroachdb/pebble/v2"

	"raftkv/statemachine/keys"
)

// keepsAny tells whether etcd finds any record to keep for a compaction at main
// revision main: a key that exists then, or, if the compaction is real, the
// tombstone of a key that main itself deleted.
//
// A key that main deleted and wrote again, which takes a transaction with an
// open range, has both a tombstone and a newer version of main; etcd finds the
// tombstone alone, so such a key counts if the compaction is real, and does not
// if it is only asked what it would keep.
func keepsAny(db pebble.Reader, main int64, compacting bool) (found bool, err error) {
	s, err := NewSnapshot(db, main)
	if err != nil {
		return false, err
	}
	it, err := newIterator(db)
	if err != nil {
		return false, errors.Join(err, s.Close())
	}
	var rewritten rewrites
	err = s.Scan(Span{}, main, func(kv *KeyValue) (bool, error) {
		again := false
		if !compacting && kv.Revision.Main == main && kv.Revision.Sub > 0 {
			if again, err = rewritten.has(it, kv); err != nil {
				return false, err
			}
		}
		found = !again
		return again, nil
	})
	if err := errors.Join(err, it.Close(), s.Close()); err != nil || found || !compacting {
		return found, err
	}
	return holdsTombstone(db, main)
}

// rewrites finds keys that one main revision deleted and wrote again. The zero
// value is ready.
type rewrites struct{ seekKey []byte }

// has tells whether kv, a version that exists, has a tombstone of its own main
// revision before it.
func (r *rewrites) has(it *pebble.Iterator, kv *KeyValue) (bool, error) {
	r.seekKey = keys.AppendVersion(r.seekKey[:0], kv.Key, kv.Revision)
	for ok := it.SeekPrefixGE(r.seekKey); ok; ok = it.Next() {
		_, rev, err := decodeKey(it.Key())
		if err != nil || rev.Main != kv.Revision.Main {
			return false, err
		}
		value, err := it.ValueAndErr()
		if err != nil {
			return false, wrapRead(err)
		}
		if isTombstone(value) {
			return true, nil
		}
	}
	return false, wrapRead(it.Error())
}

// holdsTombstone tells whether main revision main deleted a key and did not
// write it again.
func holdsTombstone(db pebble.Reader, main int64) (found bool, err error) {
	const chunk = 1000
	from, all := keys.Revision{Main: main}, false
	for !all && !found && err == nil {
		var changes []change
		if changes, all, err = readChanges(db, from, main, chunk); err != nil || len(changes) == 0 {
			return false, err
		}
		var it *pebble.Iterator
		if it, err = newIterator(db); err != nil {
			return false, err
		}
		var c cursor
		for i := 0; i < len(changes) && !found && err == nil; i++ {
			var exists bool
			_, exists, err = c.get(it, changes[i].key, main)
			found = !exists
		}
		err = errors.Join(err, it.Close())
		from = nextRevision(changes[len(changes)-1].revision)
	}
	return found, err
}
