package engine

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/sstable"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// examineCacheBytes is the block cache of a database that is only examined.
const examineCacheBytes = 32 << 20

// LiveDatabase returns the path of the live database of a state directory that
// nobody has open.
func LiveDatabase(fs vfs.FS, dir string) (string, error) {
	name, err := readCurrent(fs, dir)
	if err != nil {
		return "", err
	}
	if name == "" {
		return "", fmt.Errorf("%w: %s has no %s file", ErrDirectory, dir, fileCurrent)
	}
	path := fs.PathJoin(dir, name)
	if _, err := fs.Stat(path); err != nil {
		return "", fmt.Errorf("%w: %s names %s, which is missing: %w", ErrDirectory, fileCurrent, name, err)
	}
	return path, nil
}

// Examine opens the database in dir, a checkpoint or one that nobody has open,
// for reading only, and shows it to inspect.
func Examine(fs vfs.FS, dir string, inspect func(*pebble.DB) error) error {
	opts := Options{Dir: dir, FS: fs, CacheBytes: examineCacheBytes, MemTableBytes: 1 << 20, OnFatal: func(error) {}}
	opts.EnsureDefaults()
	s := &Store{opts: opts, failed: make(chan struct{}), cache: pebble.NewCache(opts.CacheBytes)}
	defer s.cache.Unref()
	h := s.newHandle(dir)
	h.retired.Store(true)
	o := s.pebbleOptions(h)
	o.ReadOnly = true
	// Nothing depends on this database: damage is an error of whoever reads it,
	// and not the end of the process, for which the default would wait for ever.
	o.EventListener.DataCorruption = func(pebble.DataCorruptionInfo) {}
	db, err := pebble.Open(dir, o)
	if err != nil {
		return fmt.Errorf("%w: opening database %s: %w", ErrDirectory, dir, err)
	}
	if err := errors.Join(inspect(db), db.Close()); err != nil {
		return fmt.Errorf("reading database %s: %w", dir, err)
	}
	return nil
}

// CheckTables verifies the checksum of every block of every table and blob file
// of the database in dir, and tells broken of each that cannot be read. They are
// what the database consists of but for its manifest, which opening it verifies.
func CheckTables(ctx context.Context, fs vfs.FS, dir string, broken func(path string, err error)) (tables int, bytes int64, err error) {
	names, err := fs.List(dir)
	if err != nil {
		return 0, 0, fmt.Errorf("listing %s: %w", dir, err)
	}
	slices.Sort(names)
	s := &Store{opts: Options{FS: fs}}
	s.opts.EnsureDefaults()
	options := s.pebbleOptions(nil)
	options.EnsureDefaults()
	readers := options.MakeReaderOptions()
	for _, name := range names {
		if !ImmutableFile(name) {
			continue
		}
		if err := context.Cause(ctx); err != nil {
			return tables, bytes, err
		}
		path := fs.PathJoin(dir, name)
		size, err := checkTable(ctx, fs, path, readers)
		if err != nil {
			broken(path, err)
		}
		tables++
		bytes += size
	}
	return tables, bytes, nil
}

func checkTable(ctx context.Context, fs vfs.FS, path string, o sstable.ReaderOptions) (size int64, err error) {
	f, err := fs.Open(path, vfs.SequentialReadsOption)
	if err != nil {
		return 0, err
	}
	info, err := f.Stat()
	if err != nil {
		return 0, errors.Join(err, f.Close())
	}
	if strings.HasSuffix(path, suffixBlob) {
		return info.Size(), checkBlob(ctx, f)
	}
	readable, err := sstable.NewSimpleReadable(f)
	if err != nil {
		return info.Size(), errors.Join(err, f.Close())
	}
	r, err := sstable.NewReader(ctx, readable, o)
	if err != nil {
		return info.Size(), errors.Join(err, readable.Close())
	}
	return info.Size(), errors.Join(r.ValidateBlockChecksums(), r.Close())
}
