package snap

import (
	"fmt"
	"hash/crc32"
	"io"
	"maps"
	"slices"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// treeWriter writes files into a directory tree and fsyncs what it made.
type treeWriter struct {
	fs   vfs.FS
	dir  string
	made map[string]struct{} // directories below dir, relative
}

func newTreeWriter(fs vfs.FS, dir string) *treeWriter {
	return &treeWriter{fs: fs, dir: dir, made: make(map[string]struct{})}
}

func (w *treeWriter) mkdir(name string) error {
	if _, ok := w.made[name]; ok {
		return nil
	}
	if err := w.fs.MkdirAll(w.fs.PathJoin(w.dir, name), 0o700); err != nil {
		return fmt.Errorf("create staging directory: %w", err)
	}
	for ; name != ""; name = parent(name) {
		w.made[name] = struct{}{}
	}
	w.made[""] = struct{}{}
	return nil
}

// write copies one file of the archive, verifies and fsyncs it.
func (w *treeWriter) write(f file, archive io.Reader, buf []byte) (err error) {
	if err := w.mkdir(parent(f.name)); err != nil {
		return err
	}
	created, err := w.fs.Create(w.fs.PathJoin(w.dir, f.name), vfs.WriteCategoryUnspecified)
	if err != nil {
		return fmt.Errorf("create staging file: %w", err)
	}
	// Writing back as we go keeps the fsync at the end from stalling others.
	out := vfs.NewSyncingFile(created, vfs.SyncingFileOptions{BytesPerSync: 1 << 20})
	defer func() {
		if closeErr := out.Close(); err == nil && closeErr != nil {
			err = fmt.Errorf("close staging file %s: %w", f.name, closeErr)
		}
	}()
	checksum := uint32(0)
	for left := f.sizeBytes; left > 0; {
		n, err := archive.Read(buf[:min(int64(len(buf)), left)])
		if n > 0 {
			// The checksum comes first: Write may scribble over the buffer.
			checksum = crc32.Update(checksum, crc32.MakeTable(crc32.Castagnoli), buf[:n])
			left -= int64(n)
			if _, err := out.Write(buf[:n]); err != nil {
				return fmt.Errorf("write staging file %s: %w", f.name, err)
			}
		}
		if err == io.EOF && left > 0 {
			err = io.ErrUnexpectedEOF
		}
		if err != nil && left > 0 {
			return fmt.Errorf("read file %s of the archive: %w", f.name, err)
		}
	}
	if checksum != f.checksum {
		return fmt.Errorf("%w: file %s does not match its checksum", ErrCorrupt, f.name)
	}
	if err := out.Sync(); err != nil {
		return fmt.Errorf("fsync staging file %s: %w", f.name, err)
	}
	return nil
}

func (w *treeWriter) sync() error {
	for _, name := range slices.Sorted(maps.Keys(w.made)) {
		if err := syncDir(w.fs, w.fs.PathJoin(w.dir, name)); err != nil {
			return err
		}
	}
	return nil
}

// parent returns the directory of a slash-separated name, "" at the top.
func parent(name string) string {
	for i := len(name) - 1; i >= 0; i-- {
		if name[i] == '/' {
			return name[:i]
		}
	}
	return ""
}

func syncDir(fs vfs.FS, dir string) error {
	d, err := fs.OpenDir(dir)
	if err != nil {
		return fmt.Errorf("open directory to fsync it: %w", err)
	}
	if err := d.Sync(); err != nil {
		d.Close()
		return fmt.Errorf("fsync directory %s: %w", dir, err)
	}
	if err := d.Close(); err != nil {
		return fmt.Errorf("close directory %s: %w", dir, err)
	}
	return nil
}
