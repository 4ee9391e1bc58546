package snap

import (
	"errors"
	"io"
	"os"
	"slices"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// savedFS is the file system of an open snapshot file: its files, over an empty
// one in memory that takes what a reader creates.
type savedFS struct {
	vfs.FS
	saved *Saved
}

// find returns the place of a file, or -1.
func (s *savedFS) find(name string) int {
	if s.PathDir(name) != savedDir {
		return -1
	}
	base := s.PathBase(name)
	return slices.IndexFunc(s.saved.files, func(f file) bool { return f.name == base })
}

// Open implements vfs.FS.
func (s *savedFS) Open(name string, opts ...vfs.OpenOption) (vfs.File, error) {
	i := s.find(name)
	if i < 0 {
		return s.FS.Open(name, opts...)
	}
	return &savedFile{SectionReader: s.saved.section(i), info: savedInfo{s.saved.files[i]}}, nil
}

// List implements vfs.FS.
func (s *savedFS) List(dir string) ([]string, error) {
	names, err := s.FS.List(dir)
	if err != nil || dir != savedDir {
		return names, err
	}
	for _, f := range s.saved.files {
		names = append(names, f.name)
	}
	return names, nil
}

// Stat implements vfs.FS.
func (s *savedFS) Stat(name string) (vfs.FileInfo, error) {
	if i := s.find(name); i >= 0 {
		return savedInfo{s.saved.files[i]}, nil
	}
	return s.FS.Stat(name)
}

// Unwrap implements vfs.FS.
func (s *savedFS) Unwrap() vfs.FS { return nil }

// savedFile is one file of a snapshot file.
type savedFile struct {
	*io.SectionReader
	info savedInfo
}

var errReadOnly = errors.New("a snapshot file can only be read")

func (f *savedFile) Close() error                       { return nil }
func (f *savedFile) Write([]byte) (int, error)          { return 0, errReadOnly }
func (f *savedFile) WriteAt([]byte, int64) (int, error) { return 0, errReadOnly }
func (f *savedFile) Preallocate(_, _ int64) error       { return errReadOnly }
func (f *savedFile) Stat() (vfs.FileInfo, error)        { return f.info, nil }
func (f *savedFile) Sync() error                        { return nil }
func (f *savedFile) SyncTo(int64) (bool, error)         { return true, nil }
func (f *savedFile) SyncData() error                    { return nil }
func (f *savedFile) Prefetch(_, _ int64) error          { return nil }
func (f *savedFile) Fd() uintptr                        { return vfs.InvalidFd }

// savedInfo describes one.
type savedInfo struct{ f file }

func (i savedInfo) Name() string           { return i.f.name }
func (i savedInfo) Size() int64            { return i.f.sizeBytes }
func (i savedInfo) Mode() os.FileMode      { return 0o400 }
func (i savedInfo) ModTime() time.Time     { return time.Time{} }
func (i savedInfo) IsDir() bool            { return false }
func (i savedInfo) Sys() any               { return nil }
func (i savedInfo) DeviceID() vfs.DeviceID { return vfs.DeviceID{} }
