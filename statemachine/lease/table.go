package lease

import (
	"bytes"
	"errors"
	"fmt"
	"slices"

	"github.com/cockroachdb/pebble/v2"

	"raftkv/statemachine/keys"
)

// Batch takes the records a Table makes.
type Batch interface {
	Set(key, value []byte) error
	Delete(key []byte) error
}

// Table is the tables of leases as the open batch sees them. It is reused from
// batch to batch.
type Table struct {
	db    pebble.Reader
	batch Batch
	// known holds what the batch looked up or changed; nil: there is none.
	known map[int64]*Record
	// moved holds for each lease the keys that the batch attached to it (true)
	// or detached from it.
	moved map[int64]map[string]bool
}

// Start begins a batch on top of db.
func (t *Table) Start(db pebble.Reader, batch Batch) {
	t.db, t.batch = db, batch
	if t.known == nil {
		t.known, t.moved = make(map[int64]*Record), make(map[int64]map[string]bool)
	}
}

// keepEntries bounds the maps that are kept for the next batch.
const keepEntries = 1 << 14

// Finish lets go of the database and of what was done; the caller commits the
// batch.
func (t *Table) Finish() {
	t.db, t.batch = nil, nil
	if len(t.known) > keepEntries || len(t.moved) > keepEntries {
		t.known, t.moved = nil, nil
		return
	}
	clear(t.known)
	clear(t.moved)
}

// Exists tells whether there is a lease.
func (t *Table) Exists(id int64) (bool, error) {
	_, found, err := t.Lookup(id)
	return found, err
}

// Lookup returns a lease.
func (t *Table) Lookup(id int64) (Record, bool, error) {
	r, ok := t.known[id]
	if !ok {
		stored, found, err := Read(t.db, id)
		if err != nil {
			return Record{}, false, err
		}
		if found {
			r = &stored
		}
		t.known[id] = r
	}
	if r == nil {
		return Record{}, false, nil
	}
	return *r, true, nil
}

// Read returns a lease as a database has it.
func Read(db pebble.Reader, id int64) (r Record, found bool, err error) {
	value, closer, err := db.Get(keys.Lease(id))
	switch {
	case errors.Is(err, pebble.ErrNotFound):
		return r, false, nil
	case err != nil:
		return r, false, fmt.Errorf("reading lease %x: %w", uint64(id), err)
	}
	r, err = DecodeRecord(value)
	if err = errors.Join(err, closer.Close()); err != nil {
		return r, false, fmt.Errorf("reading lease %x: %w", uint64(id), err)
	}
	return r, true, nil
}

// Set makes or changes a lease.
func (t *Table) Set(id int64, r Record) error {
	t.known[id] = &r
	return t.batch.Set(keys.Lease(id), r.Encode())
}

// End removes a lease; its keys must be detached before.
func (t *Table) End(id int64) error {
	t.known[id] = nil
	return t.batch.Delete(keys.Lease(id))
}

// Move implements mvcc.Leases: a key leaves one lease for another; 0 is none.
func (t *Table) Move(key []byte, from, to int64) error {
	if from != 0 {
		t.note(from, key, false)
		if err := t.batch.Delete(keys.LeaseKey(from, key)); err != nil {
			return err
		}
	}
	if to == 0 {
		return nil
	}
	t.note(to, key, true)
	return t.batch.Set(keys.LeaseKey(to, key), nil)
}

func (t *Table) note(id int64, key []byte, attached bool) {
	of := t.moved[id]
	if of == nil {
		of = make(map[string]bool)
		t.moved[id] = of
	}
	of[string(key)] = attached
}

// Keys returns the keys of a lease, sorted.
func (t *Table) Keys(id int64) ([][]byte, error) {
	moved := t.moved[id]
	var attached [][]byte
	err := EachKey(t.db, id, func(key []byte) error {
		if _, ok := moved[string(key)]; !ok {
			attached = append(attached, slices.Clone(key))
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	for key, is := range moved {
		if is {
			attached = append(attached, []byte(key))
		}
	}
	slices.SortFunc(attached, bytes.Compare)
	return attached, nil
}

// EachKey calls visit with the keys of a lease as a database has them, in
// order; a key is valid during the call.
func EachKey(db pebble.Reader, id int64, visit func(key []byte) error) error {
	lower, upper := keys.LeaseKeyBounds(id)
	it, err := db.NewIter(&pebble.IterOptions{LowerBound: lower, UpperBound: upper})
	if err != nil {
		return fmt.Errorf("reading the keys of lease %x: %w", uint64(id), err)
	}
	for ok := it.First(); ok && err == nil; ok = it.Next() {
		var key []byte
		if _, key, err = keys.DecodeLeaseKey(it.Key()); err == nil {
			err = visit(key)
		}
	}
	if err = errors.Join(err, it.Error(), it.Close()); err != nil {
		return fmt.Errorf("reading the keys of lease %x: %w", uint64(id), err)
	}
	return nil
}
