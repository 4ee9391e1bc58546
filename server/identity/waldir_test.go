package identity

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func withLog(dir string) Identity { w := want(); w.WALDir = dir; return w }

func touch(t *testing.T, path string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
}

// makeMember makes a member whose log is in dir ("": in the data directory).
func makeMember(t *testing.T, root, dir string) {
	t.Helper()
	d := open(t, root, withLog(dir))
	touch(t, filepath.Join(d.WAL(), "0.wal"))
	touch(t, filepath.Join(d.State(), "CURRENT"))
	if err := d.MarkComplete(); err != nil {
		t.Fatal(err)
	}
	close(t, d)
}

func refused(t *testing.T, root, dir, complaint string) {
	t.Helper()
	_, err := Open(root, withLog(dir))
	if err == nil || !strings.Contains(err.Error(), complaint) {
		t.Errorf("log in %q: %v, want %q", dir, err, complaint)
	}
}

func rename(t *testing.T, from, to string) {
	t.Helper()
	if err := os.Rename(from, to); err != nil {
		t.Fatal(err)
	}
}

// TestLogElsewhere: the log is found where it was, may be moved, and nothing
// that is not the log written last is taken for it.
func TestLogElsewhere(t *testing.T) {
	base := t.TempDir()
	root, a, b := filepath.Join(base, "data"), filepath.Join(base, "a"), filepath.Join(base, "b")
	makeMember(t, root, a)
	close(t, open(t, root, withLog(a)))
	inside := filepath.Join(root, "member", "wal")

	refused(t, root, "", "the log of this member is in "+a+", --wal-dir now leads to "+inside)
	refused(t, root, b, "the log of this member is in "+a)
	touch(t, filepath.Join(b, "0.wal"))
	refused(t, root, b, "both "+a+" and "+b+" hold a log, and the first one was used last")
	if err := os.RemoveAll(b); err != nil {
		t.Fatal(err)
	}
	rename(t, a, b)
	refused(t, root, a, a+" is missing or empty (is a disk not mounted?)")
	refused(t, root, "", "is missing there")
	close(t, open(t, root, withLog(b)))
	rename(t, b, inside)
	close(t, open(t, root, want()))
	rename(t, inside, a)
	refused(t, root, "", "is missing or empty")
	close(t, open(t, root, withLog(a)))
}

func TestNewLogElsewhere(t *testing.T) {
	base := t.TempDir()
	root, a, b := filepath.Join(base, "data"), filepath.Join(base, "a"), filepath.Join(base, "b")
	precious := filepath.Join(a, "precious")
	touch(t, precious)
	for range 2 {
		_, err := Open(root, withLog(a))
		if !errors.Is(err, ErrForeign) || !strings.Contains(err.Error(), `holds "precious"`) {
			t.Fatal(err)
		}
	}
	// An interrupted first start leaves its log; only that goes.
	d := open(t, root, withLog(b))
	for _, name := range []string{"0.wal", "1.tmp", "other"} {
		touch(t, filepath.Join(b, name))
	}
	if err := d.Discard(); err != nil {
		t.Fatal(err)
	}
	close(t, d)
	left, err := os.ReadDir(b)
	if err != nil || len(left) != 1 || left[0].Name() != "other" {
		t.Errorf("left: %v (%v)", left, err)
	}
	// Then the log may still go elsewhere.
	touch(t, filepath.Join(b, "0.wal"))
	close(t, open(t, root, want()))
	if _, err := os.Stat(filepath.Join(b, "0.wal")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the remains of the interrupted start: %v", err)
	}
	if _, err := os.Stat(precious); err != nil {
		t.Error(err)
	}
	if d, err := Open(filepath.Join(base, "other"), withLog("/proc")); err == nil {
		close(t, d)
		t.Error("a log in /proc")
	}
}
