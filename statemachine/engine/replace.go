package engine

import (
	"errors"
	"fmt"
	"path"
	"strings"

	"github.com/cockroachdb/errors/oserror"
	"github.com/cockroachdb/pebble/v2"
)

// Checkpoint flushes and writes a copy of the live database, made of hard
// links, to dir, which must not exist. inspect sees the copy, read-only: by
// then the live database may have moved on.
func (s *Store) Checkpoint(dir string, inspect func(*pebble.DB) error) error {
	h, err := s.Acquire()
	if err != nil {
		return err
	}
	defer h.Release()
	if err := s.flush(h); err != nil {
		return err
	}
	if err := h.db.Checkpoint(dir); err != nil {
		return fmt.Errorf("checkpoint to %s: %w", dir, err)
	}
	if err := s.inspectCopy(dir, inspect); err != nil {
		return errors.Join(err, s.opts.FS.RemoveAll(dir))
	}
	return nil
}

func (s *Store) inspectCopy(dir string, inspect func(*pebble.DB) error) error {
	h := s.newHandle(dir)
	h.retired.Store(true) // its background errors concern nobody else
	o := s.pebbleOptions(h)
	o.ReadOnly = true
	db, err := pebble.Open(dir, o)
	if err != nil {
		return fmt.Errorf("opening checkpoint %s: %w", dir, err)
	}
	if err := errors.Join(inspect(db), db.Close()); err != nil {
		return fmt.Errorf("reading checkpoint %s: %w", dir, err)
	}
	// Opening leaves a lock file that is no part of the checkpoint.
	if err := s.opts.FS.Remove(s.opts.FS.PathJoin(dir, fileLock)); err != nil && !oserror.IsNotExist(err) {
		return fmt.Errorf("cleaning checkpoint %s: %w", dir, err)
	}
	return nil
}

// Replace moves the database in staged, whose files are durable, into the
// directory and makes it the live one; durable on return. verify may refuse
// it; then, and after any error before the commit point, the store goes on
// with what it had. adopt is called after the commit point, while readers can
// still acquire the old database; those that did finish undisturbed.
func (s *Store) Replace(staged string, verify func(*Handle) error, adopt func()) error {
	if err := s.Err(); err != nil {
		return err
	}
	if s.closed.Load() {
		return ErrClosed
	}
	fs, old := s.opts.FS, s.current.Load()
	n, _ := dbNumber(fs.PathBase(old.dir))
	name := dbName(n + 1)
	path := fs.PathJoin(s.opts.Dir, name)
	if err := s.remove([]string{name}); err != nil {
		return err
	}
	if err := fs.Rename(staged, path); err != nil {
		return fmt.Errorf("moving staged database %s: %w", staged, err)
	}
	h, err := s.openStaged(name, verify)
	if err != nil {
		return errors.Join(fmt.Errorf("staged database %s: %w", staged, err), s.remove([]string{name}))
	}
	if err := writeCurrent(fs, s.opts.Dir, name); err != nil {
		// Which database a restart would find is unknown.
		err = fmt.Errorf("installing state database: %w", err)
		s.fail(err)
		h.retired.Store(true)
		return errors.Join(err, h.db.Close())
	}
	s.current.Store(h)
	adopt()
	old.retire(true)
	return nil
}

func (s *Store) openStaged(name string, verify func(*Handle) error) (*Handle, error) {
	if err := syncDir(s.opts.FS, s.opts.Dir); err != nil {
		return nil, err
	}
	h, err := s.openDatabase(name)
	if err != nil {
		return nil, err
	}
	if err := verify(h); err != nil {
		h.retired.Store(true)
		return nil, errors.Join(err, h.db.Close())
	}
	return h, nil
}

// ImmutableFile tells whether Pebble never changes a file of that name once it
// is part of a database: tables and blob files are, manifests and options are
// not.
func ImmutableFile(name string) bool {
	ext := path.Ext(name)
	return (ext == suffixTable || ext == suffixBlob) && !strings.ContainsAny(name, `/\`)
}

// LinkLive makes a hard link at path `to` to the live database's file of that
// name, which must be an immutable one.
func (s *Store) LinkLive(name, to string) error {
	if !ImmutableFile(name) {
		return fmt.Errorf("%q is no table or blob file of a database", name)
	}
	h, err := s.Acquire()
	if err != nil {
		return err
	}
	defer h.Release()
	if err := s.opts.FS.Link(s.opts.FS.PathJoin(h.dir, name), to); err != nil {
		return fmt.Errorf("linking live file %s: %w", name, err)
	}
	return nil
}
