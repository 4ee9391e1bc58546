package statemachine

import (
	"errors"
	"fmt"

	"raftkv/statemachine/engine"
	"raftkv/statemachine/keys"
	"raftkv/statemachine/lease"
	"raftkv/statemachine/mvcc"
)

// ImportedVersion is one version of a key that another store made.
type ImportedVersion struct {
	mvcc.KeyValue
	Tombstone bool
}

// Importer takes the history of another store into a state that has just been
// bootstrapped. Versions come in the order of their revisions.
type Importer struct {
	m       *Machine
	batch   *engine.Batch
	batched int64 // bytes in batch
	next    view
	last    keys.Revision
	leases  map[int64]bool
}

// importBatchBytes bounds what is in memory between two commits.
const importBatchBytes = 4 << 20

// NewImporter begins an import.
func (m *Machine) NewImporter() (*Importer, error) {
	v := m.view.Load()
	switch {
	case !v.initialized:
		return nil, ErrNotInitialized
	case v.revision != mvcc.FirstRevision || v.written != 0:
		return nil, fmt.Errorf("import: %w", ErrAlreadyInitialized)
	}
	batch, err := m.store.NewBatch()
	return &Importer{m: m, batch: batch, next: *v, leases: make(map[int64]bool)}, err
}

// Version adds a version.
func (im *Importer) Version(v *ImportedVersion) error {
	if r := v.Revision; r.Main < 1 || r.Main < im.last.Main || r.Main == im.last.Main && r.Sub <= im.last.Sub && im.last.Main != 0 {
		return fmt.Errorf("import: revision %d.%d comes behind %d.%d", r.Main, r.Sub, im.last.Main, im.last.Sub)
	}
	im.last = v.Revision
	written, err := mvcc.WriteVersion(im.batch, &v.KeyValue, v.Tombstone)
	if err != nil {
		return err
	}
	im.next.written += written
	im.next.revision = max(im.next.revision, v.Revision.Main)
	return im.grown(written)
}

// Lease adds a lease.
func (im *Importer) Lease(l Lease) error {
	im.leases[l.ID] = true
	im.next.written += leaseLiveBytes
	r := lease.Record{TTLSeconds: l.TTLSeconds, RemainingSeconds: l.RemainingSeconds}
	return errors.Join(im.batch.Set(keys.Lease(l.ID), r.Encode()), im.grown(leaseLiveBytes))
}

// Auth keeps a record of the other store's users, roles and settings as it is.
func (im *Importer) Auth(bucket string, key, value []byte) error {
	name := bucket + "/" + string(key)
	return errors.Join(im.batch.Set(keys.Named(keys.ImportedAuth, name), value), im.grown(int64(len(value))))
}

// grown commits the batch once it is large.
func (im *Importer) grown(bytes int64) error {
	if im.batched += bytes; im.batched < importBatchBytes {
		return nil
	}
	return im.commit()
}

func (im *Importer) commit() (err error) {
	if err := im.batch.Commit(); err != nil {
		return err
	}
	im.batched = 0
	im.batch, err = im.m.store.NewBatch()
	return err
}

// Imported says how a history ended.
type Imported struct {
	Revision          int64
	CompactedRevision int64
	Leases            int
	// Unattached is how many keys carry a lease that does not exist.
	Unattached int
}

// Finish completes the import; durable on return. newest is the newest revision
// if it is beyond that of the last version. compacted is what cannot be
// read any more, swept up to where such versions were removed as well; both may
// be mvcc.NeverCompacted.
func (im *Importer) Finish(newest, compacted, swept int64) (Imported, error) {
	if err := im.commit(); err != nil {
		return Imported{}, err
	}
	im.next.compacted = compacted
	im.next.revision = max(im.next.revision, newest, compacted)
	im.next.sweep = newSweepState(sweepRecord{swept: swept, target: swept})
	im.next.sweepRecord = im.next.sweep.record
	out := Imported{Revision: im.next.revision, CompactedRevision: compacted, Leases: len(im.leases)}
	var err error
	if out.Unattached, err = im.attach(); err != nil {
		return out, err
	}
	if err := setSweepRecord(im.batch, im.next.sweepRecord); err != nil {
		return out, err
	}
	if err := im.m.commitSeed(im.batch, &im.next); err != nil {
		return out, err
	}
	v, r, err := load(im.next.handle)
	if err != nil {
		return out, err
	}
	im.m.adopt(v, r)
	return out, nil
}

// Discard gives an import up: the state is of no use then.
func (im *Importer) Discard() error { return im.batch.Discard() }

// attach fills the table of lease keys from the newest versions.
func (im *Importer) attach() (unattached int, err error) {
	s, err := mvcc.NewSnapshot(im.next.handle.DB(), im.next.revision)
	if err != nil {
		return 0, err
	}
	err = s.Scan(mvcc.Span{}, im.next.revision, func(kv *mvcc.KeyValue) (bool, error) {
		switch {
		case kv.Lease == 0:
			return true, nil
		case !im.leases[kv.Lease]:
			unattached++
			return true, nil
		}
		err := im.batch.Set(keys.LeaseKey(kv.Lease, kv.Key), nil)
		return true, errors.Join(err, im.grown(int64(len(kv.Key))))
	})
	return unattached, errors.Join(err, s.Close())
}
