package mvcc

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/cockroachdb/pebble/v2"

	"raftkv/statemachine/keys"
)

// The revisions table tells which key changed at which revision. A record is one
// change, whose value is the user key, or a run: neighbouring changes that one
// batch made, under the revision of the last. A run costs Pebble one insertion for
// all of them. Its value has, for every change,
//
//	main revision, the first as it is, others less the one before   uvarint
//	sub revision                                                    uvarint
//	length of the user key                                          uvarint
//	user key
//
// A sweep takes a run apart when it first comes across it: what it keeps gets a
// record of its own, since it will be removed alone, whenever its key is written
// again.

// change tells which key changed at a revision.
type change struct {
	revision keys.Revision
	key      []byte
	place    int  // among those that were read together, or in run
	run      *run // that a sweep found it in; nil: it has a record of its own
}

// within tells whether a change is one from revision from to the end of main
// revision last.
func (c *change) within(from keys.Revision, last int64) bool {
	return compareRevisions(c.revision, from) >= 0 && c.revision.Main <= last
}

// Runs are bounded, since a reader of one change has to read all of its run.
const (
	runMax      = 256
	runBytesMax = 16 << 10
)

// recorded is a change that a batch makes.
type recorded struct {
	revision keys.Revision
	key      string
}

// recordAll adds the records of changes, which are in order, to a batch.
func recordAll(batch Batch, changes []recorded) error {
	for len(changes) > 0 {
		n, size := firstRun(changes)
		var err error
		if n == 1 {
			err = recordOne(batch, changes[0].revision, changes[0].key)
		} else {
			err = batch.SetInPlace(keys.RunLen, size, func(k, v []byte) {
				keys.AppendRun(k[:0], changes[n-1].revision)
				fillRun(v, changes[:n])
			})
		}
		if err != nil {
			return err
		}
		changes = changes[n:]
	}
	return nil
}

// recordOne adds the record of one change to a batch.
func recordOne[K []byte | string](batch Batch, rev keys.Revision, key K) error {
	return batch.SetInPlace(keys.RevisionLen, len(key), func(k, v []byte) {
		keys.AppendRevision(k[:0], rev)
		copy(v, key)
	})
}

// firstRun returns how many of changes make a run, and the length of its value.
func firstRun(changes []recorded) (n, size int) {
	previous := int64(0)
	for n < len(changes) && n < runMax && size < runBytesMax {
		c := &changes[n]
		size += uvarintLen(uint64(c.revision.Main-previous)) + uvarintLen(uint64(c.revision.Sub)) +
			uvarintLen(uint64(len(c.key))) + len(c.key)
		previous = c.revision.Main
		n++
	}
	return n, size
}

func fillRun(value []byte, changes []recorded) {
	previous := int64(0)
	for i := range changes {
		c := &changes[i]
		value = value[binary.PutUvarint(value, uint64(c.revision.Main-previous)):]
		value = value[binary.PutUvarint(value, uint64(c.revision.Sub)):]
		value = value[binary.PutUvarint(value, uint64(len(c.key))):]
		value = value[copy(value, c.key):]
		previous = c.revision.Main
	}
}

// appendChanges appends the changes of a record to dst. Their keys alias value.
func appendChanges(dst []change, key, value []byte) (_ []change, run bool, err error) {
	last, run, err := keys.DecodeRevision(key)
	if err != nil {
		return dst, false, fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	if !run {
		return append(dst, change{revision: last, key: value}), false, nil
	}
	at := keys.Revision{}
	for len(value) > 0 {
		main, sub, length, n := runHead(value)
		next := keys.Revision{Main: at.Main + int64(main), Sub: uint32(sub)}
		if n == 0 || length > uint64(len(value)-n) || compareRevisions(next, at) <= 0 || compareRevisions(next, last) > 0 {
			return dst, true, damagedRun(last)
		}
		end := n + int(length)
		dst = append(dst, change{revision: next, key: value[n:end:end]})
		value, at = value[end:], next
	}
	if at != last || at == (keys.Revision{}) {
		return dst, true, damagedRun(last)
	}
	return dst, true, nil
}

// runHead reads what precedes a user key in a run; n is 0 if it is damaged.
func runHead(value []byte) (main, sub, length uint64, n int) {
	var numbers [3]uint64
	for i := range numbers {
		v, used := binary.Uvarint(value[n:])
		if used <= 0 || v > 1<<63-1 {
			return 0, 0, 0, 0
		}
		numbers[i], n = v, n+used
	}
	if numbers[1] > 1<<32-1 {
		return 0, 0, 0, 0
	}
	return numbers[0], numbers[1], numbers[2], n
}

func damagedRun(last keys.Revision) error {
	return fmt.Errorf("%w: the run of changes up to revision %v", ErrCorrupt, last)
}

// VisitChanges calls visit with every change of a record of the revisions table.
// key aliases the record.
func VisitChanges(recordKey, value []byte, visit func(rev keys.Revision, key []byte) error) error {
	changes, _, err := appendChanges(nil, recordKey, value)
	for i := range changes {
		if err == nil {
			err = visit(changes[i].revision, changes[i].key)
		}
	}
	return err
}

// changeRecords walks the records of the revisions table.
type changeRecords struct {
	it *pebble.Iterator
	// changes are those of the record it stands at; they are valid until the next.
	changes []change
	run     bool // that is a run
	begun   bool
	err     error
}

// openChanges returns the records from that of revision from on. The first and
// the last that the caller takes may be runs with changes it did not ask for.
func openChanges(db pebble.Reader, from keys.Revision) (*changeRecords, error) {
	_, upper := keys.Bounds(keys.Revisions)
	it, err := db.NewIter(&pebble.IterOptions{LowerBound: keys.AppendRevision(nil, from), UpperBound: upper})
	if err != nil {
		return nil, fmt.Errorf("reading the revisions: %w", err)
	}
	return &changeRecords{it: it}, nil
}

// next moves to the next record, if there is one and it can be read.
func (r *changeRecords) next() bool {
	valid := false
	if r.begun {
		valid = r.it.Next()
	} else {
		r.begun, valid = true, r.it.First()
	}
	if !valid || r.err != nil {
		return false
	}
	value, err := r.it.ValueAndErr()
	if err == nil {
		r.changes, r.run, err = appendChanges(r.changes[:0], r.it.Key(), value)
	}
	r.err = err
	return err == nil
}

// close lets the database go and returns what went wrong.
func (r *changeRecords) close() error {
	if err := errors.Join(r.err, wrapRead(r.it.Error()), r.it.Close()); err != nil {
		return fmt.Errorf("reading the revisions: %w", err)
	}
	return nil
}

// eachRecord calls visit with the changes of each record from that of revision from
// on to that of the end of main revision last, valid during the call, until it
// returns false, and reports whether those were all.
func eachRecord(db pebble.Reader, from keys.Revision, last int64, visit func(changes []change, run bool) (more bool)) (all bool, err error) {
	records, err := openChanges(db, from)
	if err != nil {
		return false, err
	}
	all = true
	for all && records.next() && records.changes[0].revision.Main <= last {
		all = visit(records.changes, records.run)
	}
	return all, records.close()
}

// readChanges returns the changes from revision from to the end of main revision
// last, and whether those are all: it stops after the record with which there are
// limit or more.
func readChanges(db pebble.Reader, from keys.Revision, last int64, limit int) (changes []change, all bool, err error) {
	all, err = eachRecord(db, from, last, func(record []change, _ bool) (more bool) {
		if len(changes) >= limit {
			return false
		}
		for _, c := range record {
			if c.within(from, last) {
				changes = append(changes, change{revision: c.revision, key: bytes.Clone(c.key), place: len(changes)})
			}
		}
		return true
	})
	return changes, all, err
}
