package snap

import (
	"fmt"
	"maps"
	"slices"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// treeWriter makes a directory tree and fsyncs what it made.
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
