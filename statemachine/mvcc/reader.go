package mvcc

import (
	"fmt"

	"github.com/cockroachdb/pebble/v2"

	"raftkv/statemachine/keys"
)

// Reader reads the key space. Snapshot and Writer implement it.
type Reader interface {
	// Revision is the newest revision that can be read; inside a transaction
	// that has changed something, that transaction's own.
	Revision() int64
	// Compacted is the oldest revision that can be read, or NeverCompacted.
	Compacted() int64
	// Get returns the version of key that was current at revision, if the key
	// existed. The caller has checked the revision.
	Get(key []byte, revision int64) (kv KeyValue, found bool, err error)
	// Scan calls visit for every key in span that existed at revision, in key
	// order, until visit returns false. visit must not write.
	Scan(span Span, revision int64, visit func(*KeyValue) (more bool, err error)) error
	// Count counts the keys in span that existed at revision, without reading
	// their values. It calls check from time to time and stops at its error.
	Count(span Span, revision int64, check func() error) (int64, error)
}

// Span is the user keys from Start to before End; a nil End is the end of the
// key space.
type Span struct {
	Start, End []byte
}

func (s Span) empty() bool { return s.End != nil && string(s.Start) >= string(s.End) }

// CheckRevision tells whether r can be read at revision.
func CheckRevision(r Reader, revision int64) error {
	switch {
	case revision > r.Revision():
		return fmt.Errorf("%w: %d, the newest is %d", ErrFutureRevision, revision, r.Revision())
	case revision < r.Compacted():
		return fmt.Errorf("%w: %d, compacted up to %d", ErrCompacted, revision, r.Compacted())
	}
	return nil
}

// Snapshot reads committed state.
type Snapshot struct {
	it                  *pebble.Iterator
	revision, compacted int64
	hot                 *Hot
	cursor              cursor
}

// NewSnapshot opens a snapshot of db, whose newest revision to be read is
// revision. compacted is set by SetCompacted.
func NewSnapshot(db pebble.Reader, revision int64) (*Snapshot, error) {
	it, err := newIterator(db)
	if err != nil {
		return nil, err
	}
	return &Snapshot{it: it, revision: revision, compacted: NeverCompacted}, nil
}

func newIterator(db pebble.Reader) (*pebble.Iterator, error) {
	lower, upper := keys.Bounds(keys.Keys)
	it, err := db.NewIter(&pebble.IterOptions{
		LowerBound: lower,
		UpperBound: upper,
		// Most point reads of a store that is loaded are for keys it does not
		// hold, or not in the upper levels.
		UseL6Filters: true,
	})
	if err != nil {
		return nil, fmt.Errorf("reading the key space: %w", err)
	}
	return it, nil
}

// SetCompacted sets the compacted revision. It must have been loaded after the
// snapshot was opened: a removal of old versions that the snapshot sees is then
// covered by it.
func (s *Snapshot) SetCompacted(compacted int64) { s.compacted = compacted }

// Remember lets Get ask hot, which is told of every change before a view shows it,
// and tell it what it found. The snapshot's revision must be that of a view.
func (s *Snapshot) Remember(hot *Hot) { s.hot = hot }

// Revision implements Reader.
func (s *Snapshot) Revision() int64 { return s.revision }

// Compacted implements Reader.
func (s *Snapshot) Compacted() int64 { return s.compacted }

// Get implements Reader.
func (s *Snapshot) Get(key []byte, revision int64) (KeyValue, bool, error) {
	if kv, exists, known := s.hot.Get(key, revision); known {
		return kv, exists, nil
	}
	kv, exists, err := s.cursor.get(s.it, key, revision)
	if err == nil && revision == s.revision {
		s.hot.Offer(key, &kv, exists, revision)
	}
	return kv, exists, err
}

// Scan implements Reader.
func (s *Snapshot) Scan(span Span, revision int64, visit func(*KeyValue) (bool, error)) error {
	if span.empty() {
		return nil
	}
	c := &s.cursor
	for ok, err := c.seek(s.it, span, revision); ; ok, err = c.next() {
		if err != nil || !ok {
			return err
		}
		if more, err := visit(&c.kv); err != nil || !more {
			return err
		}
	}
}

// Count implements Reader.
func (s *Snapshot) Count(span Span, revision int64, check func() error) (int64, error) {
	if span.empty() {
		return 0, nil
	}
	return s.cursor.count(s.it, span, revision, check)
}

// Close releases the snapshot.
func (s *Snapshot) Close() error {
	if err := s.it.Close(); err != nil {
		return fmt.Errorf("closing a read of the key space: %w", err)
	}
	return nil
}
