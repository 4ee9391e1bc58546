package mvcc

import (
	"bytes"
	"fmt"

	"github.com/cockroachdb/pebble/v2"

	"raftkv/statemachine/keys"
)

// Batch takes the records a Writer makes.
type Batch interface {
	SetInPlace(keyLen, valueLen int, fill func(key, value []byte)) error
}

// Recorder is told every change of the key space, in order. What it is given
// is valid during the call.
type Recorder interface {
	RecordPut(kv *KeyValue)
	RecordDelete(key []byte, revision keys.Revision)
}

// Leases is told when the lease of a key changes; 0 is no lease. key is valid
// during the call.
type Leases interface {
	Move(key []byte, from, to int64) error
}

// Writer runs transactions against the key space, one after another, and puts
// what they write into a batch. It is reused from batch to batch.
type Writer struct {
	// HeadsBytes bounds what is remembered from batch to batch of the keys that
	// were written; 0: nothing is.
	HeadsBytes int64
	// Hot is told of every change; nil: nobody is.
	Hot *Hot

	db       pebble.Reader
	batch    Batch
	recorder Recorder
	leases   Leases

	// base is the revision of the database, revision the one after the last
	// transaction that ended, changes counts those of the open one.
	base, revision, compacted int64
	changes                   uint32
	// written is the size of the records of the batch, see WrittenBytes.
	written int64
	// recorded lists the changes whose records in the revisions table the batch
	// does not have yet; their keys are those of the overlay.
	recorded []recorded

	overlay overlay
	heads   heads            // of the database headsOf, and what the batch wrote
	headsOf pebble.Reader    // another one makes heads start anew
	it      *pebble.Iterator // of the database; nil until something is read
	cursor  cursor
}

// Start begins a batch on top of db, which is at the revisions given.
func (w *Writer) Start(db pebble.Reader, batch Batch, recorder Recorder, leases Leases, revision, compacted int64) {
	w.db, w.batch, w.recorder, w.leases = db, batch, recorder, leases
	w.base, w.revision, w.compacted = revision, revision, compacted
	w.changes, w.written = 0, 0
	w.overlay.reset()
	if db != w.headsOf {
		w.headsOf = db
		w.heads.reset(w.HeadsBytes)
	}
}

// Written is the size of the records that the batch adds to the key space.
func (w *Writer) Written() int64 { return w.written }

// Complete adds the records of all changes to the batch: in the order of their
// keys, so that Pebble's memtable is searched where it was searched for the one
// before.
func (w *Writer) Complete() error {
	w.overlay.sort()
	for _, n := range w.overlay.sorted {
		for v := &n.newest; v != nil; v = v.older {
			if err := w.version(n.key, v); err != nil {
				return err
			}
		}
	}
	err := recordAll(w.batch, w.recorded)
	w.forget()
	return err
}

// version adds the record of a version.
func (w *Writer) version(key string, v *version) error {
	kv := v.keyValue(nil)
	size := tombstoneLen
	if !v.tombstone {
		size = kv.encodedLen()
	}
	return w.batch.SetInPlace(keys.VersionLen(len(key), v.revision), size, func(k, data []byte) {
		keys.AppendVersion(k[:0], key, v.revision)
		if v.tombstone {
			data[0] = tagTombstone
		} else {
			kv.encode(data)
		}
	})
}

func (w *Writer) forget() {
	clear(w.recorded)
	w.recorded = w.recorded[:0]
}

// Finish ends the batch, which is complete or of no use, and lets go of the
// database and of what was written; the caller commits the batch.
func (w *Writer) Finish() error {
	it := w.it
	w.overlay.reset()
	w.forget()
	w.db, w.batch, w.recorder, w.leases, w.it = nil, nil, nil, nil, nil
	w.cursor.it = nil
	if it == nil {
		return nil
	}
	if err := it.Close(); err != nil {
		return fmt.Errorf("closing a read of the key space: %w", err)
	}
	return nil
}

// EndTransaction closes the open transaction: what follows takes another main
// revision, if this one changed anything.
func (w *Writer) EndTransaction() {
	if w.changes > 0 {
		w.revision++
		w.changes = 0
	}
}

// Revision implements Reader.
func (w *Writer) Revision() int64 {
	if w.changes > 0 {
		return w.revision + 1
	}
	return w.revision
}

// Compacted implements Reader.
func (w *Writer) Compacted() int64 { return w.compacted }

// Compact raises the compacted revision: nothing below it can be read any more.
func (w *Writer) Compact(revision int64) error {
	if err := CheckRevision(w, revision); err != nil {
		return err
	}
	if revision == w.compacted {
		return fmt.Errorf("%w: %d already", ErrCompacted, revision)
	}
	w.compacted = revision
	return nil
}

// Put writes a version of key in the open transaction. value must stay
// unchanged until the batch ends.
func (w *Writer) Put(key, value []byte, lease int64) error {
	n := w.overlay.get(key)
	prev, err := w.head(n, key)
	if err != nil {
		return err
	}
	kv := KeyValue{Key: key, Value: value, Lease: lease, Revision: w.nextRevision(), Version: prev.version + 1}
	kv.CreateRevision = kv.Revision.Main
	if prev.version > 0 {
		kv.CreateRevision = prev.createRevision
	}
	n = w.overlay.add(n, key, version{revision: kv.Revision, createRevision: kv.CreateRevision,
		version: kv.Version, lease: lease, value: value})
	from := prev.lease
	w.remember(n, prev, head{createRevision: kv.CreateRevision, version: kv.Version, lease: lease})
	w.recorder.RecordPut(&kv)
	w.changed(n.key, kv.Revision, kv.encodedLen())
	return w.move(key, from, lease)
}

// move is told of every write.
func (w *Writer) move(key []byte, from, to int64) error {
	if from == to {
		return nil
	}
	return w.leases.Move(key, from, to)
}

// Delete writes a tombstone for key, which exists and has that lease, in the
// open transaction.
func (w *Writer) Delete(key []byte, lease int64) error {
	rev := w.nextRevision()
	n := w.overlay.get(key)
	prev := w.known(n, key)
	if prev == nil {
		prev = &head{}
	}
	n = w.overlay.add(n, key, version{revision: rev, tombstone: true})
	w.remember(n, prev, head{})
	w.recorder.RecordDelete(key, rev)
	w.changed(n.key, rev, tombstoneLen)
	return w.move(key, lease, 0)
}

func (w *Writer) nextRevision() keys.Revision {
	return keys.Revision{Main: w.revision + 1, Sub: w.changes}
}

// changed counts a change, whose version has a value of valueLen bytes.
func (w *Writer) changed(key string, rev keys.Revision, valueLen int) {
	w.changes++
	w.written += writtenBytes(len(key), rev, valueLen)
	w.recorded = append(w.recorded, recorded{revision: rev, key: key})
	w.Hot.Changed(key, rev.Main)
}

// head returns the head of key, whose node is n.
func (w *Writer) head(n *node, key []byte) (*head, error) {
	if known := w.known(n, key); known != nil {
		return known, nil
	}
	if err := w.open(); err != nil {
		return nil, err
	}
	stored, err := w.cursor.head(w.it, key, w.base)
	return &stored, err
}

// known returns the head of key, whose node is n, if it is in memory.
func (w *Writer) known(n *node, key []byte) *head {
	if n != nil {
		return n.head
	}
	return w.heads.get(key)
}

// remember makes newest, whose generation does not count, the head of the key of
// n, which was h.
func (w *Writer) remember(n *node, h *head, newest head) {
	newest.generation = h.generation
	*h = newest
	n.head = h
	w.heads.put(n.key, h)
}

// stored reads a key from the database.
func (w *Writer) stored(key []byte, revision int64) (KeyValue, bool, error) {
	if err := w.open(); err != nil {
		return KeyValue{}, false, err
	}
	return w.cursor.get(w.it, key, revision)
}

// open opens the batch's one iterator.
func (w *Writer) open() (err error) {
	if w.it == nil {
		w.it, err = newIterator(w.db)
	}
	return err
}

// Get implements Reader.
func (w *Writer) Get(key []byte, revision int64) (KeyValue, bool, error) {
	if n := w.overlay.get(key); n != nil {
		if v := n.at(revision); v != nil {
			return v.keyValue(key), !v.tombstone, nil
		}
	}
	return w.stored(key, min(revision, w.base))
}

// Scan implements Reader: it merges the database with the overlay, whose
// versions are the newer ones.
func (w *Writer) Scan(span Span, revision int64, visit func(*KeyValue) (bool, error)) error {
	if span.empty() {
		return nil
	}
	if err := w.open(); err != nil {
		return err
	}
	c := &w.cursor
	stored, err := c.seek(w.it, span, min(revision, w.base))
	written := writtenSpan{nodes: w.overlay.seek(span.Start), end: span.End, revision: revision}
	v, kv := written.next()
	for err == nil && (stored || v != nil) {
		order := 0 // of the stored key against the written one
		switch {
		case v == nil:
			order = -1
		case !stored:
			order = 1
		default:
			order = bytes.Compare(c.kv.Key, kv.Key)
		}
		head := &c.kv
		if order >= 0 {
			head = &kv
		}
		if order < 0 || !v.tombstone {
			if more, err := visit(head); err != nil || !more {
				return err
			}
		}
		if order >= 0 {
			v, kv = written.next()
		}
		if order <= 0 {
			stored, err = c.next()
		}
	}
	return err
}

// Count implements Reader.
func (w *Writer) Count(span Span, revision int64, check func() error) (n int64, err error) {
	err = w.Scan(span, revision, func(*KeyValue) (bool, error) {
		n++
		return true, check()
	})
	return n, err
}

// writtenSpan walks the overlay's keys of a span that had a version at a
// revision.
type writtenSpan struct {
	nodes    []*node
	end      []byte
	revision int64
}

// next returns nil at the end. The key value of a tombstone has its key only.
func (s *writtenSpan) next() (*version, KeyValue) {
	for len(s.nodes) > 0 {
		n := s.nodes[0]
		s.nodes = s.nodes[1:]
		if s.end != nil && n.key >= string(s.end) {
			s.nodes = nil
			break
		}
		if v := n.at(s.revision); v != nil {
			kv := v.keyValue([]byte(n.key))
			return v, kv
		}
	}
	return nil, KeyValue{}
}
