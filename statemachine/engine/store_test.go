package engine_test

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"raftkv/statemachine/engine"
	"raftkv/statemachine/keys"
)

func options(t *testing.T, fs vfs.FS) engine.Options {
	return engine.Options{Dir: "data/state", FS: fs, MemTableBytes: 1 << 20, ManualCompaction: true,
		OnFatal: func(err error) { t.Errorf("fatal: %v", err) }}
}

// holdsRow takes a database with any meta record for one that holds state.
func holdsRow(db *pebble.DB) (bool, error) {
	lower, upper := keys.Bounds(keys.Meta)
	it, err := db.NewIter(&pebble.IterOptions{LowerBound: lower, UpperBound: upper})
	if err != nil {
		return false, err
	}
	return it.First(), errors.Join(it.Error(), it.Close())
}

func open(t *testing.T, fs vfs.FS) *engine.Store {
	t.Helper()
	s, err := engine.Open(options(t, fs), holdsRow)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func closeStore(t *testing.T, s *engine.Store) {
	t.Helper()
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}

func set(t *testing.T, s *engine.Store, value string) {
	t.Helper()
	b, err := s.NewBatch()
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Set(keys.Named(keys.Meta, "row"), []byte(value)); err != nil {
		t.Fatal(err)
	}
	if err := b.Commit(); err != nil {
		t.Fatal(err)
	}
}

func get(t *testing.T, db *pebble.DB) string {
	t.Helper()
	value, closer, err := db.Get(keys.Named(keys.Meta, "row"))
	if errors.Is(err, pebble.ErrNotFound) {
		return ""
	}
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := closer.Close(); err != nil {
			t.Error(err)
		}
	}()
	return string(value)
}

func write(t *testing.T, fs vfs.FS, path, content string) {
	t.Helper()
	f, err := fs.Create(path, vfs.WriteCategoryUnspecified)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(f, content); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(f.Sync(), f.Close()); err != nil {
		t.Fatal(err)
	}
}

func TestSurvivesRestart(t *testing.T) {
	fs := vfs.NewMem()
	s := open(t, fs)
	set(t, s, "1")
	closeStore(t, s)
	s = open(t, fs)
	defer closeStore(t, s)
	if got := get(t, s.Current().DB()); got != "1" {
		t.Fatalf("read %q", got)
	}
}

// TestDirectories: what can be wrong with a directory, each with a message
// that says what to do.
func TestDirectories(t *testing.T) {
	const dir = "data/state/"
	for name, c := range map[string]struct {
		harm func(t *testing.T, fs vfs.FS)
		want string // in the error; "" is success
	}{
		"foreign file": {func(t *testing.T, fs vfs.FS) {
			if err := fs.Remove(dir + "CURRENT"); err != nil {
				t.Fatal(err)
			}
			write(t, fs, dir+"photos.zip", "x")
		}, "choose an empty directory"},
		"foreign CURRENT": {func(t *testing.T, fs vfs.FS) { write(t, fs, dir+"CURRENT", "MANIFEST-000001\n") }, "remove this member"},
		"newer format": {func(t *testing.T, fs vfs.FS) {
			write(t, fs, dir+"CURRENT", "raft-kv state, format 2\ndb-000001\n")
		}, "newer binary"},
		"truncated CURRENT": {func(t *testing.T, fs vfs.FS) {
			write(t, fs, dir+"CURRENT", "raft-kv state, format 1\ndb-0000")
		}, "is damaged"},
		"lost CURRENT": {func(t *testing.T, fs vfs.FS) {
			if err := fs.Remove(dir + "CURRENT"); err != nil {
				t.Fatal(err)
			}
		}, "CURRENT file is gone"},
		"lost database": {func(t *testing.T, fs vfs.FS) {
			if err := fs.RemoveAll(dir + "db-000001"); err != nil {
				t.Fatal(err)
			}
		}, "missing from"},
		"damaged database": {func(t *testing.T, fs vfs.FS) {
			names, err := fs.List(dir + "db-000001")
			if err != nil {
				t.Fatal(err)
			}
			for _, name := range names {
				if strings.HasPrefix(name, "MANIFEST") {
					write(t, fs, dir+"db-000001/"+name, "damage")
				}
			}
		}, "if it is damaged, remove this member"},
		"leftovers": {func(t *testing.T, fs vfs.FS) {
			write(t, fs, dir+"CURRENT.tmp", "raft-kv st")
			for _, name := range []string{"db-000002", "db-000007.tmp"} {
				if err := fs.MkdirAll(dir+name, 0o700); err != nil {
					t.Fatal(err)
				}
				write(t, fs, dir+name+"/file", "x")
			}
		}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			fs := vfs.NewMem()
			s := open(t, fs)
			set(t, s, "1")
			closeStore(t, s)
			c.harm(t, fs)
			s, err := engine.Open(options(t, fs), holdsRow)
			if c.want != "" {
				if !errors.Is(err, engine.ErrDirectory) || !strings.Contains(err.Error(), c.want) {
					t.Fatalf("error %v, want one with %q", err, c.want)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			defer closeStore(t, s)
			names, err := fs.List(dir)
			slices.Sort(names)
			if err != nil || !slices.Equal(names, []string{"CURRENT", "LOCK", "db-000001"}) {
				t.Errorf("directory holds %v, %v", names, err)
			}
		})
	}
}

func TestLocked(t *testing.T) {
	fs := vfs.NewMem()
	s := open(t, fs)
	defer closeStore(t, s)
	if _, err := engine.Open(options(t, fs), holdsRow); err == nil || !strings.Contains(err.Error(), "another raft-kv") {
		t.Fatalf("error %v", err)
	}
}

func TestOptionsReportAllFaults(t *testing.T) {
	_, err := engine.Open(engine.Options{MemTableBytes: 2 << 30, CacheBytes: -1}, holdsRow)
	if err == nil {
		t.Fatal("taken")
	}
	for _, part := range []string{"directory", "OnFatal", "MemTableBytes", "CacheBytes"} {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("%v does not mention %s", err, part)
		}
	}
}

func TestBatchChecksKeys(t *testing.T) {
	s := open(t, vfs.NewMem())
	defer closeStore(t, s)
	b, err := s.NewBatch()
	if err != nil {
		t.Fatal(err)
	}
	bad := []byte("no sentinel")
	for name, err := range map[string]error{
		"Set": b.Set(bad, nil), "Delete": b.Delete(bad),
		"SetInPlace": b.SetInPlace(len(bad), 0, func(k, _ []byte) { copy(k, bad) }),
	} {
		if !errors.Is(err, keys.ErrMalformed) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := b.Discard(); err != nil {
		t.Error(err)
	}
}

// TestReaderOutlivesReplacement: who holds a database reads it to the end; then
// it is removed.
func TestReaderOutlivesReplacement(t *testing.T) {
	fs := vfs.NewMem()
	s := open(t, fs)
	set(t, s, "old")
	if err := s.Checkpoint("copy", func(db *pebble.DB) error {
		if got := get(t, db); got != "old" {
			return fmt.Errorf("copy holds %q", got)
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	set(t, s, "newer")
	reader, err := s.Acquire()
	if err != nil {
		t.Fatal(err)
	}
	adopted := false
	err = s.Replace("copy", func(h *engine.Handle) error {
		if got := get(t, h.DB()); got != "old" {
			return fmt.Errorf("staged holds %q", got)
		}
		return nil
	}, func() {
		adopted = true
		if !reader.Acquire() {
			t.Error("the old database cannot be acquired before the new one is adopted")
			return
		}
		reader.Release()
	})
	if err != nil || !adopted {
		t.Fatalf("adopted %t, %v", adopted, err)
	}
	if got := get(t, reader.DB()); got != "newer" {
		t.Errorf("the reader's database holds %q", got)
	}
	if reader.Acquire() {
		t.Error("a replaced database was acquired again")
	}
	if got := get(t, s.Current().DB()); got != "old" {
		t.Errorf("the live database holds %q", got)
	}
	if _, err := fs.Stat("data/state/db-000001"); err != nil {
		t.Errorf("the replaced database is gone while it is read: %v", err)
	}
	reader.Release()
	if _, err := fs.Stat("data/state/db-000001"); err == nil {
		t.Error("the replaced database is still there")
	}
	closeStore(t, s)
	s = open(t, fs)
	defer closeStore(t, s)
	if got := get(t, s.Current().DB()); got != "old" {
		t.Errorf("after a restart the database holds %q", got)
	}
}

func TestClosed(t *testing.T) {
	s := open(t, vfs.NewMem())
	closeStore(t, s)
	_, batchErr := s.NewBatch()
	_, acquireErr := s.Acquire()
	for name, err := range map[string]error{
		"NewBatch": batchErr, "Acquire": acquireErr, "Flush": s.Flush(), "Close": s.Close(),
		"Checkpoint": s.Checkpoint("x", nil), "Replace": s.Replace("x", nil, nil),
	} {
		if !errors.Is(err, engine.ErrClosed) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestFailedWriteStops fails one kind of write under a flush: the flush does
// not hang and is not reported as done, the owner is told once, and nothing
// works from then on.
func TestFailedWriteStops(t *testing.T) {
	for _, part := range []string{".sst", "MANIFEST-"} {
		t.Run(part, func(t *testing.T) {
			var failing atomic.Bool
			fs := errorfs.Wrap(vfs.NewMem(), errorfs.InjectorFunc(func(op errorfs.Op) error {
				isSync := op.Kind == errorfs.OpFileSync || op.Kind == errorfs.OpFileSyncData
				if failing.Load() && isSync && strings.Contains(op.Path, part) {
					return errorfs.ErrInjected
				}
				return nil
			}))
			o := options(t, fs)
			told := make(chan error, 10)
			o.OnFatal = func(err error) { told <- err }
			s, err := engine.Open(o, holdsRow)
			if err != nil {
				t.Fatal(err)
			}
			set(t, s, "1")
			failing.Store(true)
			if err := s.Flush(); err == nil {
				t.Fatal("a failed flush was reported as done")
			}
			if err := <-told; !strings.Contains(err.Error(), "injected") {
				t.Errorf("told %v", err)
			}
			_, batchErr := s.NewBatch()
			_, acquireErr := s.Acquire()
			if s.Err() == nil || batchErr == nil || acquireErr == nil || s.Flush() == nil {
				t.Error("the store went on")
			}
			if err := s.Close(); err == nil {
				t.Error("Close hides the failure")
			}
			if len(told) > 0 {
				t.Errorf("told again: %v", <-told)
			}
		})
	}
}
