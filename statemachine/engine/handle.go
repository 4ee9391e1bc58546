package engine

import (
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2"
	"go.uber.org/zap"
)

// Handle is one open database. It stays open, whatever replaces it, until
// everybody who acquired it has released it.
type Handle struct {
	store *Store
	dir   string
	db    *pebble.DB
	// refs counts users, the store itself included. Nobody acquires a handle
	// whose count has reached 0.
	refs    atomic.Int64
	retired atomic.Bool
	// remove: the directory goes when the database is closed.
	remove bool
	// closed is closed after the database was closed; closeErr is set before.
	closed   chan struct{}
	closeErr error
}

// NewReader stands for a database that somebody else opened and will close. It
// can be read, and neither acquired nor released.
func NewReader(db *pebble.DB) *Handle { return &Handle{db: db} }

// Acquire keeps the database open until Release. It reports false when the
// database was replaced or closed: take the store's newer one.
func (h *Handle) Acquire() bool {
	for {
		n := h.refs.Load()
		if n == 0 || h.retired.Load() {
			return false
		}
		if h.refs.CompareAndSwap(n, n+1) {
			return true
		}
	}
}

// Release gives up what Acquire took. Iterators must be closed before.
func (h *Handle) Release() {
	if h.refs.Add(-1) > 0 {
		return
	}
	if err := h.db.Close(); err != nil {
		h.closeErr = err
		h.store.opts.Logger.Error("closing state database", zap.String("dir", h.dir), zap.Error(err))
	}
	if h.remove {
		// A leftover is removed by the next Open as well.
		if err := h.store.opts.FS.RemoveAll(h.dir); err != nil {
			h.store.opts.Logger.Warn("removing replaced state database", zap.String("dir", h.dir), zap.Error(err))
		}
	}
	close(h.closed)
}

// retire lets the store's own reference go: the database closes with its last
// reader.
func (h *Handle) retire(remove bool) {
	h.remove = remove
	h.retired.Store(true)
	h.Release()
}

// DB returns the database; valid while acquired.
func (h *Handle) DB() *pebble.DB { return h.db }
