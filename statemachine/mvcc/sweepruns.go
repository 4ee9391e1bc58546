package mvcc

import (
	"bytes"
	"slices"

	"github.com/cockroachdb/pebble/v2"

	"raftkv/statemachine/keys"
)

// run is one that a sweep takes apart.
type run struct {
	changes []change // in order
	gone    []bool   // which of them were removed
}

func newRun(changes []change) *run {
	r := &run{changes: slices.Clone(changes), gone: make([]bool, len(changes))}
	for i := range r.changes {
		r.changes[i].key, r.changes[i].run = bytes.Clone(r.changes[i].key), r
	}
	return r
}

// remove takes out the change of a revision.
func (r *run) remove(rev keys.Revision) {
	i, found := slices.BinarySearchFunc(r.changes, rev, func(c change, rev keys.Revision) int {
		return compareRevisions(c.revision, rev)
	})
	if found {
		r.gone[i] = true
	}
}

// readSwept is readChanges for a sweep, which takes the runs apart that the changes
// come from.
func readSwept(db pebble.Reader, from keys.Revision, last int64, limit int) (changes []change, runs []*run, all bool, err error) {
	records, err := openChanges(db, from)
	if err != nil {
		return nil, nil, false, err
	}
	all = true
	for records.next() && records.changes[0].revision.Main <= last {
		if len(changes) >= limit {
			all = false
			break
		}
		if !records.run {
			c := records.changes[0]
			changes = append(changes, change{revision: c.revision, key: bytes.Clone(c.key)})
			continue
		}
		r := newRun(records.changes)
		runs = append(runs, r)
		for _, c := range r.changes {
			if compareRevisions(c.revision, from) >= 0 && c.revision.Main <= last {
				changes = append(changes, c)
			}
		}
	}
	return changes, runs, all, records.close()
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
