package engine

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/cockroachdb/errors/oserror"
	"github.com/cockroachdb/pebble/v2"
)

// ErrClosed is returned by every call after Close.
var ErrClosed = errors.New("state database is closed")

// Store is the directory with its live database.
type Store struct {
	opts  Options
	cache *pebble.Cache
	lock  io.Closer

	current atomic.Pointer[Handle]
	closed  atomic.Bool
	// rewriting counts the calls of Rewrite under way.
	rewriting atomic.Int32

	failOnce sync.Once
	fatal    atomic.Pointer[error]
	failed   chan struct{} // closed when fatal is set
	stuck    atomic.Bool   // a goroutine is parked inside Pebble
}

// Open opens the directory, creating it if there is none. holdsState tells
// whether a database holds anything worth keeping: one that no CURRENT names
// may be taken for the rest of an interrupted first start only if not.
func Open(opts Options, holdsState func(*pebble.DB) (bool, error)) (_ *Store, err error) {
	opts.EnsureDefaults()
	if err := opts.Validate(); err != nil {
		return nil, fmt.Errorf("options of the state: %w", err)
	}
	if err := makeDir(opts.FS, opts.Dir); err != nil {
		return nil, err
	}
	lock, err := opts.FS.Lock(opts.FS.PathJoin(opts.Dir, fileLock))
	if err != nil {
		return nil, fmt.Errorf("locking state directory %s (is another raft-kv running on it?): %w", opts.Dir, err)
	}
	s := &Store{opts: opts, lock: lock, failed: make(chan struct{})}
	// Pebble takes its memtables out of the cache's size: without room for them
	// there would be no cache left, and a bloom filter be read from disk for
	// every put.
	s.cache = pebble.NewCache(opts.CacheBytes + MemTablesMax*int64(opts.MemTableBytes))
	defer func() {
		if err != nil {
			err = errors.Join(err, s.unlock())
		}
	}()
	h, err := s.openCurrent(holdsState)
	if err != nil {
		return nil, err
	}
	s.current.Store(h)
	return s, nil
}

func (s *Store) unlock() error {
	s.cache.Unref()
	return s.lock.Close()
}

// openCurrent cleans up and opens the live database.
func (s *Store) openCurrent(holdsState func(*pebble.DB) (bool, error)) (*Handle, error) {
	fs, dir := s.opts.FS, s.opts.Dir
	name, err := readCurrent(fs, dir)
	if err != nil {
		return nil, err
	}
	databases, leftovers, foreign, err := inspect(fs, dir)
	if err != nil {
		return nil, err
	}
	if name == "" {
		return s.openFirst(databases, leftovers, foreign, holdsState)
	}
	if !slices.Contains(databases, name) {
		return nil, fmt.Errorf("%w: %s names %s, which is missing from %s; restore the directory, or remove this member and add it again",
			ErrDirectory, fileCurrent, name, dir)
	}
	for _, old := range databases {
		if old != name {
			leftovers = append(leftovers, old)
		}
	}
	if err := s.remove(leftovers); err != nil {
		return nil, err
	}
	return s.openDatabase(name)
}

// openFirst starts a directory that has no CURRENT: an empty one, or one whose
// first start was interrupted.
func (s *Store) openFirst(databases, leftovers, foreign []string, holdsState func(*pebble.DB) (bool, error)) (*Handle, error) {
	fs, dir, name := s.opts.FS, s.opts.Dir, dbName(1)
	if len(foreign) > 0 {
		return nil, fmt.Errorf("%w: %s holds %q but no %s file, so raft-kv did not write it; choose an empty directory",
			ErrDirectory, dir, foreign[0], fileCurrent)
	}
	if len(databases) > 1 || (len(databases) == 1 && databases[0] != name) {
		return nil, s.errCurrentLost(databases[0])
	}
	if err := s.remove(leftovers); err != nil {
		return nil, err
	}
	if len(databases) == 0 {
		if err := s.create(name); err != nil {
			return nil, err
		}
	}
	h, err := s.openDatabase(name)
	if err != nil {
		return nil, err
	}
	holds, err := holdsState(h.db)
	if err == nil && holds {
		err = s.errCurrentLost(name)
	}
	if err == nil {
		err = writeCurrent(fs, dir, name)
	}
	if err != nil {
		return nil, errors.Join(err, h.db.Close())
	}
	return h, nil
}

func (s *Store) errCurrentLost(name string) error {
	return fmt.Errorf("%w: %s holds %s but its %s file is gone; remove this member and add it again with an empty directory",
		ErrDirectory, s.opts.Dir, name, fileCurrent)
}

// create makes a database under a temporary name, because Pebble refuses to go
// on with one whose creation was interrupted.
func (s *Store) create(name string) error {
	fs := s.opts.FS
	temp := fs.PathJoin(s.opts.Dir, name+suffixTemp)
	h := s.newHandle(temp)
	o := s.pebbleOptions(h)
	o.ErrorIfExists = true
	db, err := pebble.Open(temp, o)
	if err != nil {
		return fmt.Errorf("creating state database %s: %w", temp, err)
	}
	h.retired.Store(true)
	if err := db.Close(); err != nil {
		return fmt.Errorf("creating state database %s: %w", temp, err)
	}
	if err := syncDir(fs, temp); err != nil {
		return err
	}
	if err := fs.Rename(temp, fs.PathJoin(s.opts.Dir, name)); err != nil {
		return fmt.Errorf("naming state database: %w", err)
	}
	return syncDir(fs, s.opts.Dir)
}

func (s *Store) newHandle(path string) *Handle {
	h := &Handle{store: s, dir: path, closed: make(chan struct{})}
	h.refs.Store(1)
	return h
}

func (s *Store) openDatabase(name string) (*Handle, error) {
	h := s.newHandle(s.opts.FS.PathJoin(s.opts.Dir, name))
	o := s.pebbleOptions(h)
	o.ErrorIfNotExists = true
	db, err := pebble.Open(h.dir, o)
	if err != nil {
		return nil, fmt.Errorf("%w: opening state database %s: %w; if it is damaged, remove this member and add it again with an empty directory",
			ErrDirectory, h.dir, err)
	}
	h.db = db
	return h, nil
}

func (s *Store) remove(names []string) error {
	for _, name := range names {
		path := s.opts.FS.PathJoin(s.opts.Dir, name)
		if err := s.opts.FS.RemoveAll(path); err != nil && !oserror.IsNotExist(err) {
			return fmt.Errorf("removing leftover %s: %w", path, err)
		}
	}
	return nil
}

// Current returns the live database, not acquired.
func (s *Store) Current() *Handle { return s.current.Load() }

// Acquire returns the live database, acquired: the caller releases it.
func (s *Store) Acquire() (*Handle, error) {
	for {
		if err := s.Err(); err != nil {
			return nil, err
		}
		if s.closed.Load() {
			return nil, ErrClosed
		}
		if h := s.current.Load(); h.Acquire() {
			return h, nil
		}
	}
}

// Flush makes everything committed when it was called durable.
func (s *Store) Flush() error {
	h, err := s.Acquire()
	if err != nil {
		return err
	}
	defer h.Release()
	return s.flush(h)
}

func (s *Store) flush(h *Handle) error {
	flushed, err := h.db.AsyncFlush()
	if err != nil {
		return fmt.Errorf("flushing state: %w", err)
	}
	// A failed flush would be tried again for ever; its failure ends the wait.
	select {
	case <-flushed:
		return s.Err()
	case <-s.failed:
		return s.Err()
	}
}

// SizeBytes returns the disk space used by the live database.
func (s *Store) SizeBytes() (int64, error) {
	h, err := s.Acquire()
	if err != nil {
		return 0, err
	}
	defer h.Release()
	return int64(h.db.Metrics().DiskSpaceUsage()), nil
}

// Close flushes, waits for the last reader and closes the database. After a
// failure nothing is flushed, and if Pebble is stuck nothing is closed.
func (s *Store) Close() error {
	if s.closed.Swap(true) {
		return ErrClosed
	}
	h := s.current.Load()
	if s.stuck.Load() {
		return s.Err()
	}
	err := s.Err()
	if err == nil {
		err = s.flush(h)
	}
	h.retire(false)
	<-h.closed
	return errors.Join(err, h.closeErr, s.unlock())
}
