package wal

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"go.etcd.io/etcd/client/pkg/v3/fileutil"
	etcdwal "go.etcd.io/etcd/server/v3/storage/wal"
)

// segmentFile is a segment by its name: its number, and the index of the entry
// that was expected next when it was begun. Numbers are consecutive; indexes go
// back where entries were replaced.
type segmentFile struct {
	name       string
	seq, index uint64
}

// listSegments returns the segments in dir, oldest first. Other files are not
// its business.
func listSegments(dir string) ([]segmentFile, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("wal: list the segments: %w", err)
	}
	var found []segmentFile
	for _, e := range entries {
		s := segmentFile{name: e.Name()}
		if n, err := fmt.Sscanf(s.name, "%016x-%016x.wal", &s.seq, &s.index); n != 2 || err != nil {
			continue
		}
		if s.name == fmt.Sprintf("%016x-%016x.wal", s.seq, s.index) {
			found = append(found, s)
		}
	}
	slices.SortFunc(found, func(a, b segmentFile) int { return strings.Compare(a.name, b.name) })
	return found, nil
}

// superfluous returns how many of the oldest segments are not needed to start
// behind a snapshot record at index: all but one of those before the first that
// was begun at or beyond it. etcd's ReleaseLockTo counts in the same way.
func superfluous(segments []segmentFile, index uint64) int {
	for i, s := range segments {
		if s.index >= index {
			return max(i-1, 0)
		}
	}
	return max(len(segments)-1, 0)
}

func (f *files) list() error {
	names, err := listSegments(f.dir)
	if err != nil {
		return err
	}
	f.names, f.unlisted = names, 0
	return nil
}

// Reclaimable says whether Release would remove a segment. The directory is
// listed only once enough was written for a good part of a segment.
func (f *files) Reclaimable(index uint64) bool {
	if f.unlisted > etcdwal.SegmentSizeBytes/8 {
		if err := f.list(); err != nil {
			return true // Release will meet the error and report it
		}
	}
	return superfluous(f.names, index) > 0
}

// Release removes segments, oldest first and each durably before the next, so
// that a crash never leaves a hole.
func (f *files) Release(index uint64) error {
	if err := f.wal.ReleaseLockTo(index); err != nil {
		return fmt.Errorf("release the locks of segments: %w", err)
	}
	if err := f.list(); err != nil {
		return err
	}
	for range superfluous(f.names, index) {
		if err := os.Remove(filepath.Join(f.dir, f.names[0].name)); err != nil {
			return fmt.Errorf("remove a segment: %w", err)
		}
		if err := syncDir(f.dir); err != nil {
			return err
		}
		f.names = f.names[1:]
	}
	return nil
}

// Bytes returns the size of everything in the directory, with the space that is
// allocated ahead.
func (f *files) Bytes() (int64, error) {
	entries, err := os.ReadDir(f.dir)
	if err != nil {
		return 0, err
	}
	var sum int64
	for _, e := range entries {
		info, err := e.Info()
		if errors.Is(err, fs.ErrNotExist) {
			continue // renamed or removed meanwhile
		}
		if err != nil {
			return 0, err
		}
		sum += info.Size()
	}
	return sum, nil
}

func removeTemporary(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("wal: find temporary files: %w", err)
	}
	for _, e := range entries {
		if filepath.Ext(e.Name()) != ".tmp" {
			continue
		}
		if err := os.Remove(filepath.Join(dir, e.Name())); err != nil {
			return fmt.Errorf("wal: remove a temporary file: %w", err)
		}
	}
	return nil
}

// syncDir makes the entries of a directory durable.
func syncDir(dir string) error {
	d, err := fileutil.OpenDir(dir)
	if err != nil {
		return fmt.Errorf("wal: sync a directory: %w", err)
	}
	if err := errors.Join(fileutil.Fsync(d), d.Close()); err != nil {
		return fmt.Errorf("wal: sync a directory: %w", err)
	}
	return nil
}
