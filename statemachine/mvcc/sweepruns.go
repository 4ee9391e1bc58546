package mvcc

import (
	"bytes"
	"slices"

	"github.com/cockroachdb/pebble/v2"

	"raftkv/statemachine/keys"
)

// run is one that a sweep takes apart.
type run struct {
	changes []change // in order: each has its place in it
	gone    []bool   // which of them were removed
}

func newRun(changes []change) *run {
	r := &run{changes: slices.Clone(changes), gone: make([]bool, len(changes))}
	for i := range r.changes {
		c := &r.changes[i]
		c.key, c.place, c.run = bytes.Clone(c.key), i, r
	}
	return r
}

// readSwept is readChanges for a sweep, which takes the runs apart that the changes
// come from.
func readSwept(db pebble.Reader, from keys.Revision, last int64, limit int) (changes []change, runs []*run, all bool, err error) {
	all, err = eachRecord(db, from, last, func(record []change, isRun bool) (more bool) {
		if len(changes) >= limit {
			return false
		}
		r := newRun(record)
		if isRun {
			runs = append(runs, r)
		} else {
			r.changes[0].run = nil
		}
		for _, c := range r.changes {
			if c.within(from, last) {
				changes = append(changes, c)
			}
		}
		return true
	})
	return changes, runs, all, err
}

// splitRuns takes the runs apart: what is left of them up to the sweep's target gets
// records of its own, and what lies above it remains a run.
func (s *sweepStep) splitRuns() error {
	for _, r := range s.runs {
		last := r.changes[len(r.changes)-1].revision
		if err := s.batch.Delete(keys.AppendRun(nil, last)); err != nil {
			return err
		}
		var above []recorded
		for i, c := range r.changes {
			var err error
			switch {
			case c.revision.Main > s.sweep.Target:
				above = append(above, recorded{revision: c.revision, key: string(c.key)})
			case !r.gone[i]:
				err = recordOne(s.batch, c.revision, c.key)
			}
			if err != nil {
				return err
			}
		}
		if err := recordAll(s.batch, above); err != nil {
			return err
		}
	}
	return nil
}
