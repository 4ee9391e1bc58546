package mvcc

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/cockroachdb/pebble/v2"

	"raftkv/statemachine/keys"
)

// SweepBatch takes the removals of a sweep, and the records of changes that it
// takes out of runs.
type SweepBatch interface {
	Batch
	Delete(key []byte) error
}

// Sweep removes what a compaction at revision Target made unreadable: of every
// key, all versions at or below Target but the newest of them, and that one
// too if it is a tombstone. A tombstone of Target itself stays: whoever watches
// from Target on has to learn of it.
//
// Since is the Target of the sweep before: below it every key has one version
// at most, so only keys that changed since then are looked at.
type Sweep struct {
	Since, Target int64
	// Next is where the sweep goes on.
	Next keys.Revision
}

// Swept is what a step of a sweep removed.
type Swept struct {
	Versions int
	// Bytes is the size of the records removed, as WrittenBytes counts them.
	Bytes int64
}

// Start returns where a sweep begins.
func (s *Sweep) Start() keys.Revision { return keys.Revision{Main: max(s.Since, FirstRevision)} }

// Step looks at limit changes, or those that complete a run, puts the removals into
// batch and moves Next. It reports whether the sweep is complete. db must not
// change during the call.
func (s *Sweep) Step(db pebble.Reader, batch SweepBatch, limit int) (removed Swept, done bool, err error) {
	changes, runs, done, err := readSwept(db, s.Next, s.Target, limit)
	if err != nil || len(changes) == 0 {
		return removed, done, err
	}
	next := nextRevision(changes[len(changes)-1].revision)
	it, err := newIterator(db)
	if err != nil {
		return removed, false, err
	}
	step := sweepStep{sweep: s, it: it, batch: batch, runs: runs}
	// In the order of the table, newest first, neighbours are read with one
	// seek, and every seek goes forward.
	slices.SortFunc(changes, compareChanges)
	for len(changes) > 0 && err == nil {
		n := 1
		for n < len(changes) && bytes.Equal(changes[n].key, changes[0].key) {
			n++
		}
		err = step.key(changes[:n])
		changes = changes[n:]
	}
	if err == nil {
		err = step.splitRuns()
	}
	if err := errors.Join(err, it.Close()); err != nil {
		return removed, false, fmt.Errorf("sweeping up to revision %d: %w", s.Target, err)
	}
	s.Next = next
	return step.removed, done, nil
}

// compareChanges orders changes as the keys table does: newest first.
func compareChanges(a, b change) int {
	if c := bytes.Compare(a.key, b.key); c != 0 {
		return c
	}
	return compareRevisions(b.revision, a.revision)
}

func compareRevisions(a, b keys.Revision) int {
	switch {
	case a == b:
		return 0
	case a.Main < b.Main || (a.Main == b.Main && a.Sub < b.Sub):
		return -1
	}
	return 1
}

func nextRevision(r keys.Revision) keys.Revision {
	if r.Sub == math.MaxUint32 {
		return keys.Revision{Main: r.Main + 1}
	}
	return keys.Revision{Main: r.Main, Sub: r.Sub + 1}
}

// sweepStep is one step under way.
type sweepStep struct {
	sweep   *Sweep
	it      *pebble.Iterator // over the keys table
	batch   SweepBatch
	runs    []*run // those that the changes come from
	removed Swept
	seekKey []byte
	rev     []byte
}

// key handles changes of one key, newest first.
func (s *sweepStep) key(changes []change) error {
	key := changes[0].key
	newest, found, err := s.seek(key, s.sweep.Target)
	if err != nil {
		return err
	}
	if !found {
		return s.missing(changes[0])
	}
	at := newest
	for _, c := range changes {
		if at, err = s.walk(at, c); err != nil {
			return err
		}
		if at == newest {
			err = s.newest(c)
		} else {
			err = s.remove(c)
		}
		if err != nil {
			return err
		}
	}
	if newest == changes[0].revision {
		return s.older(key)
	}
	return nil
}

// walkMax versions are stepped over before it is cheaper to seek.
const walkMax = 8

// walk moves from a version of a key to an older one, which must be there.
func (s *sweepStep) walk(at keys.Revision, to change) (keys.Revision, error) {
	for range walkMax {
		if at == to.revision {
			return at, nil
		}
		if !s.it.Next() {
			return at, errors.Join(s.missing(to), s.it.Error())
		}
		var err error
		if _, at, err = decodeKey(s.it.Key()); err != nil {
			return at, err
		}
		if compareRevisions(at, to.revision) < 0 {
			return at, s.missing(to)
		}
	}
	return to.revision, s.seekExactly(to)
}

// newest handles the newest version at Target, at which the iterator stands.
func (s *sweepStep) newest(c change) error {
	if c.revision.Main == s.sweep.Target || valueLen(s.it) != tombstoneLen {
		return nil
	}
	value, err := s.it.ValueAndErr()
	if err != nil {
		return wrapRead(err)
	}
	if isTombstone(value) {
		return s.remove(c)
	}
	return nil
}

// valueLen is the length of the value at which it stands. Pebble keeps most
// values apart from their keys, and their lengths with the keys, so that they
// need not be read.
func valueLen(it *pebble.Iterator) int {
	value := it.LazyValue()
	return value.Len()
}

// older removes what the sweeps before had to keep of a key that has a newer
// version now. Those changes have records of their own (invariant 4).
func (s *sweepStep) older(key []byte) error {
	last := s.sweep.Start().Main - 1
	if last < FirstRevision {
		return nil
	}
	at, valid, err := s.seek(key, last)
	for valid && err == nil {
		if err = s.remove(change{revision: at, key: key}); err != nil {
			return err
		}
		if valid = s.it.Next(); valid {
			_, at, err = decodeKey(s.it.Key())
		}
	}
	return errors.Join(err, wrapRead(s.it.Error()))
}

// seek moves to the newest version of key at or below main revision main.
func (s *sweepStep) seek(key []byte, main int64) (keys.Revision, bool, error) {
	s.seekKey = keys.AppendSeek(s.seekKey[:0], key, main)
	if !s.it.SeekPrefixGE(s.seekKey) {
		return keys.Revision{}, false, wrapRead(s.it.Error())
	}
	_, at, err := decodeKey(s.it.Key())
	return at, err == nil, err
}

func (s *sweepStep) seekExactly(c change) error {
	s.seekKey = keys.AppendVersion(s.seekKey[:0], c.key, c.revision)
	if !s.it.SeekPrefixGE(s.seekKey) {
		return errors.Join(s.missing(c), s.it.Error())
	}
	_, at, err := decodeKey(s.it.Key())
	if err == nil && at != c.revision {
		err = s.missing(c)
	}
	return err
}

func (s *sweepStep) missing(c change) error {
	return fmt.Errorf("%w: no version of %.64q at revision %v", ErrCorrupt, c.key, c.revision)
}

// remove removes the version the iterator stands at, and its change from the
// revisions table.
func (s *sweepStep) remove(c change) error {
	s.removed.Versions++
	s.removed.Bytes += WrittenBytes(c.key, c.revision, valueLen(s.it))
	if err := s.batch.Delete(s.it.Key()); err != nil {
		return err
	}
	if c.run != nil {
		c.run.gone[c.place] = true
		return nil
	}
	s.rev = keys.AppendRevision(s.rev[:0], c.revision)
	return s.batch.Delete(s.rev)
}

// WrittenBytes is what one version counts for: its own record and one of its change
// in the revisions table, before compression. It does not depend on which changes
// share a record there.
func WrittenBytes(key []byte, rev keys.Revision, valueLen int) int64 {
	return writtenBytes(len(key), rev, valueLen)
}

func writtenBytes(keyLen int, rev keys.Revision, valueLen int) int64 {
	return int64(keys.VersionLen(keyLen, rev) + valueLen + keys.RevisionLen + keyLen)
}
