package engine

import (
	"fmt"

	"github.com/cockroachdb/pebble/v2"

	"raftkv/statemachine/keys"
)

// Batch collects writes that take effect together. Every key is checked on
// its way in (invariant 1 of package keys). Not safe for concurrent use.
type Batch struct {
	store *Store
	b     *pebble.Batch
}

// NewBatch returns an empty batch for the live database.
func (s *Store) NewBatch() (*Batch, error) {
	if err := s.Err(); err != nil {
		return nil, err
	}
	if s.closed.Load() {
		return nil, ErrClosed
	}
	return s.NewBatchFor(s.current.Load())
}

// NewBatchFor returns an empty batch for a database that the caller has
// acquired, the live one or one that was replaced meanwhile.
func (s *Store) NewBatchFor(h *Handle) (*Batch, error) {
	if err := s.Err(); err != nil {
		return nil, err
	}
	return &Batch{store: s, b: h.db.NewBatch()}, nil
}

// Set writes a record.
func (b *Batch) Set(key, value []byte) error {
	if err := keys.Check(key); err != nil {
		return err
	}
	if err := b.b.Set(key, value, nil); err != nil {
		return fmt.Errorf("adding %x to a batch: %w", key, err)
	}
	return nil
}

// SetInPlace is Set without a copy: fill writes the key and the value, of the
// lengths given, where Pebble keeps them.
func (b *Batch) SetInPlace(keyLen, valueLen int, fill func(key, value []byte)) error {
	op := b.b.SetDeferred(keyLen, valueLen)
	fill(op.Key, op.Value)
	if err := keys.Check(op.Key); err != nil {
		return err
	}
	return op.Finish()
}

// Delete removes a record.
func (b *Batch) Delete(key []byte) error {
	if err := keys.Check(key); err != nil {
		return err
	}
	if err := b.b.Delete(key, nil); err != nil {
		return fmt.Errorf("adding the deletion of %x to a batch: %w", key, err)
	}
	return nil
}

// Commit makes the batch visible; durable it is after a Flush. The batch is
// used up, whatever Commit returns.
func (b *Batch) Commit() error {
	if err := b.store.Err(); err != nil {
		return err
	}
	if err := b.b.Commit(pebble.NoSync); err != nil {
		return fmt.Errorf("committing to the state database: %w", err)
	}
	if err := b.b.Close(); err != nil {
		return fmt.Errorf("releasing a batch: %w", err)
	}
	return b.store.Err()
}

// Discard gives the batch up.
func (b *Batch) Discard() error { return b.b.Close() }
