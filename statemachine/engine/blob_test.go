package engine_test

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"raftkv/statemachine/engine"
	"raftkv/statemachine/keys"
)

// valueName is the key of value i.
func valueName(i int) []byte { return keys.Numbered(keys.Leases, uint64(i)) }

// setValues writes n values that are kept apart from their keys, and flushes.
func setValues(t *testing.T, s *engine.Store, n int) (values [][]byte) {
	t.Helper()
	r := rand.NewChaCha8([32]byte{1})
	b, err := s.NewBatch()
	if err != nil {
		t.Fatal(err)
	}
	for i := range n {
		value := make([]byte, 1000)
		if _, err := r.Read(value); err != nil {
			t.Fatal(err)
		}
		values = append(values, value)
		if err := b.Set(valueName(i), value); err != nil {
			t.Fatal(err)
		}
	}
	if err := b.Commit(); err != nil {
		t.Fatal(err)
	}
	if err := s.Flush(); err != nil {
		t.Fatal(err)
	}
	return values
}

// firstValue reads value 0.
func firstValue(db *pebble.DB) (value []byte, err error) {
	it, err := db.NewIter(nil)
	if err != nil {
		return nil, err
	}
	if it.SeekGE(valueName(0)) {
		value, err = it.ValueAndErr()
		value = bytes.Clone(value)
	}
	return value, errors.Join(err, it.Error(), it.Close())
}

// blobs lists the blob files of the live database of the store in dir.
func blobs(t *testing.T, fs vfs.FS, dir string) (paths []string) {
	t.Helper()
	live, err := engine.LiveDatabase(fs, dir)
	if err != nil {
		t.Fatal(err)
	}
	names, err := fs.List(live)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		if strings.HasSuffix(name, ".blob") {
			paths = append(paths, fs.PathJoin(live, name))
		}
	}
	return paths
}

// flip changes the byte of a file at the given offset, from its end if negative.
func flip(t *testing.T, fs vfs.FS, path string, offset int) {
	t.Helper()
	in, err := fs.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	content, err := io.ReadAll(in)
	if err != nil {
		t.Fatal(err)
	}
	if err := in.Close(); err != nil {
		t.Fatal(err)
	}
	if offset < 0 {
		offset += len(content)
	}
	content[offset] ^= 1
	out, err := fs.Create(path, vfs.WriteCategoryUnspecified)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := out.Write(content); err != nil {
		t.Fatal(err)
	}
	if err := out.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestDamagedBlobFile: damage in a file of values is found by a check and by a
// read, which stops the store; it is never a panic, and never a value.
func TestDamagedBlobFile(t *testing.T) {
	for name, offset := range map[string]int{"first block": 5, "index": -60, "footer": -5} {
		t.Run(name, func(t *testing.T) {
			fs := vfs.NewMem()
			s := open(t, fs)
			values := setValues(t, s, 100)
			closeStore(t, s)
			files := blobs(t, fs, "data/state")
			if len(files) != 1 {
				t.Fatalf("blob files: %v", files)
			}
			live := fs.PathDir(files[0])
			check := func() (broken []string) {
				_, _, err := engine.CheckTables(t.Context(), fs, live, func(path string, err error) {
					broken = append(broken, path)
				})
				if err != nil {
					t.Fatal(err)
				}
				return broken
			}
			if broken := check(); len(broken) > 0 {
				t.Fatalf("sound files are broken: %v", broken)
			}
			flip(t, fs, files[0], offset)
			if broken := check(); len(broken) != 1 || broken[0] != files[0] {
				t.Errorf("broken files: %v", broken)
			}

			o := options(t, fs)
			told := make(chan error, 10)
			o.OnFatal = func(err error) { told <- err }
			s, err := engine.Open(o, holdsRow)
			if err != nil {
				t.Fatal(err)
			}
			h := s.Current()
			got, err := firstValue(h.DB())
			if err == nil {
				t.Fatalf("read a value of %d bytes, right: %v", len(got), bytes.Equal(got, values[0]))
			}
			s.Damaged(h, err)
			if len(told) != 1 || s.Err() == nil {
				t.Errorf("read: %v; told %d times", err, len(told))
			}
			if err := s.Close(); err == nil {
				t.Error("Close hides the failure")
			}
			err = engine.Examine(fs, live, func(db *pebble.DB) error {
				_, err := firstValue(db)
				return err
			})
			if err == nil {
				t.Error("Examine reads a damaged value")
			}
		})
	}
}

// TestCheckpointHasBlobFiles: a checkpoint is whole without the database that it
// was made of, and its files of values are among those that never change.
func TestCheckpointHasBlobFiles(t *testing.T) {
	fs := vfs.NewMem()
	s := open(t, fs)
	values := setValues(t, s, 100)
	if err := s.Checkpoint("copy", func(*pebble.DB) error { return nil }); err != nil {
		t.Fatal(err)
	}
	for _, path := range blobs(t, fs, "data/state") {
		if !engine.ImmutableFile(fs.PathBase(path)) {
			t.Errorf("%s may change", path)
		}
		if err := s.LinkLive(fs.PathBase(path), "linked"); err != nil {
			t.Error(err)
		}
	}
	closeStore(t, s)
	if err := fs.RemoveAll("data"); err != nil {
		t.Fatal(err)
	}
	err := engine.Examine(fs, "copy", func(db *pebble.DB) error {
		for i, want := range values {
			got, closer, err := db.Get(valueName(i))
			if err != nil {
				return err
			}
			if !bytes.Equal(got, want) {
				t.Errorf("value %d differs", i)
			}
			if err := closer.Close(); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestRewriteLeavesNoGarbage: values nobody refers to any more do not outlive a
// rewrite, even where most values of their file are still needed.
func TestRewriteLeavesNoGarbage(t *testing.T) {
	s := open(t, vfs.NewMem())
	defer closeStore(t, s)
	values := setValues(t, s, 2000)
	b, err := s.NewBatch()
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(values); i += 10 {
		if err := b.Delete(valueName(i)); err != nil {
			t.Fatal(err)
		}
	}
	if err := b.Commit(); err != nil {
		t.Fatal(err)
	}
	if err := s.Flush(); err != nil {
		t.Fatal(err)
	}
	if err := s.Rewrite(t.Context()); err != nil {
		t.Fatal(err)
	}
	m := s.Current().DB().Metrics().BlobFiles
	if want := uint64(1000 * len(values) * 9 / 10); m.ValueSize != want || m.ReferencedValueSize != want {
		t.Errorf("blob files hold %d bytes, %d are referred to, want %d", m.ValueSize, m.ReferencedValueSize, want)
	}
}
