package engine

import (
	"context"
	"fmt"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"raftkv/statemachine/keys"
)

// Rewrite compacts the whole live database: everything that was deleted or
// replaced gives its disk space back now. It goes on beside reads and writes,
// and ends early with ctx.
func (s *Store) Rewrite(ctx context.Context) error {
	h, err := s.Acquire()
	if err != nil {
		return err
	}
	defer h.Release()
	s.rewriting.Add(1)
	defer s.rewriting.Add(-1)
	tables := keys.All()
	lower, _ := keys.Bounds(tables[0])
	_, upper := keys.Bounds(tables[len(tables)-1])
	// One compaction at a time: a second one would need its space on a disk that
	// may be nearly full, and its processor time beside requests.
	if err := h.db.Compact(ctx, lower, upper, false); err != nil {
		return fmt.Errorf("rewriting the state database: %w", err)
	}
	if err := awaitRemoval(ctx, h.db); err != nil {
		return err
	}
	return s.Err()
}

const (
	removalTime     = 10 * time.Second
	removalInterval = 10 * time.Millisecond
)

// awaitRemoval waits until the files that the compaction replaced are gone, or
// for removalTime: Pebble removes them in the background, and keeps one that is
// still being read.
func awaitRemoval(ctx context.Context, db *pebble.DB) error {
	limit := time.NewTimer(removalTime)
	defer limit.Stop()
	ticker := time.NewTicker(removalInterval)
	defer ticker.Stop()
	for m := db.Metrics(); m.Table.Local.ObsoleteSize > 0 || m.BlobFiles.Local.ObsoleteSize > 0; m = db.Metrics() {
		select {
		case <-ticker.C:
		case <-limit.C:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}
