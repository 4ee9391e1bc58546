//go:build linux

package ring

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

func mustNew(t *testing.T) *Ring {
	t.Helper()
	r, err := New()
	if err != nil {
		t.Skipf("SKIPPED: this system has no io_uring for us: %v", err)
	}
	t.Cleanup(func() { _ = r.Close() })
	return r
}

// TestLayout: the kernel fixes the sizes.
func TestLayout(t *testing.T) {
	if n := unsafe.Sizeof(setup{}); n != 120 {
		t.Errorf("io_uring_params are of 120 bytes, not %d", n)
	}
	if n := unsafe.Sizeof(request{}); n != 64 {
		t.Errorf("io_uring_sqe is of 64 bytes, not %d", n)
	}
	if n := unsafe.Offsetof(request{}.flags); n != 28 {
		t.Errorf("the flags of a request are at 28, not %d", n)
	}
}

func TestFdatasync(t *testing.T) {
	r := mustNew(t)
	f, err := os.Create(filepath.Join(t.TempDir(), "f"))
	if err != nil {
		t.Fatal(err)
	}
	for i := range 300 { // many times around the queues
		if _, err := f.WriteString("some bytes"); err != nil {
			t.Fatal(err)
		}
		if err := r.Fdatasync(f); err != nil || r.Broken() != nil {
			t.Fatalf("sync %d: broken %v: %v", i, r.Broken(), err)
		}
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestRefused: what the kernel says about a file that cannot be synced is
// returned, and the ring goes on.
func TestRefused(t *testing.T) {
	r := mustNew(t)
	read, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = errors.Join(read.Close(), write.Close()) }()
	for range 3 {
		if err := r.Fdatasync(write); !errors.Is(err, unix.EINVAL) || r.Broken() != nil {
			t.Fatalf("sync of a pipe: broken %v: %v", r.Broken(), err)
		}
	}
}

// TestBroken: without its queue a ring syncs by the system call.
func TestBroken(t *testing.T) {
	r := mustNew(t)
	f, err := os.Create(filepath.Join(t.TempDir(), "f"))
	if err != nil {
		t.Fatal(err)
	}
	fd := r.fd
	r.fd = int(f.Fd()) // no ring
	if err := r.Fdatasync(f); err != nil || !errors.Is(r.Broken(), unix.EOPNOTSUPP) {
		t.Errorf("broken %v: %v", r.Broken(), err)
	}
	r.fd = fd
	if err := r.Fdatasync(f); err != nil {
		t.Error(err)
	}
	read, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = errors.Join(f.Close(), read.Close(), write.Close()) }()
	if err := r.Fdatasync(write); !errors.Is(err, unix.EINVAL) {
		t.Errorf("sync of a pipe: %v", err)
	}
}

// TestResults: a sync that did not begin is made by the system call, here of a
// pipe, which that refuses; what did begin is never asked for again.
func TestResults(t *testing.T) {
	read, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = errors.Join(read.Close(), write.Close()) }()
	lost := errors.New("no word of it")
	for _, c := range []struct {
		result int32
		err    error
		want   error
		broken error
	}{
		{result: 0},
		{result: -int32(unix.ECANCELED), want: unix.EINVAL, broken: unix.ECANCELED},
		{result: -int32(unix.EINTR), want: unix.EINVAL, broken: unix.EINTR},
		{result: -512, want: unix.EINVAL, broken: unix.Errno(512)},
		{result: -516, want: unix.EINVAL, broken: unix.Errno(516)},
		{result: -int32(unix.EIO), want: unix.EIO},
		{result: -int32(unix.ENOSPC), want: unix.ENOSPC},
		{result: -511, want: unix.Errno(511)},
		{result: -517, want: unix.Errno(517)},
		{err: lost, want: lost, broken: lost},
		{result: -int32(unix.ECANCELED), err: lost, want: lost, broken: lost},
	} {
		var r Ring
		if err := r.ended(write, c.result, c.err); !errors.Is(err, c.want) || !errors.Is(r.Broken(), c.broken) {
			t.Errorf("result %d, error %v: broken %v: %v; want broken %v: %v", c.result, c.err, r.Broken(), err, c.broken, c.want)
		}
	}
}

func TestClose(t *testing.T) {
	r := mustNew(t)
	f, err := os.Create(filepath.Join(t.TempDir(), "f"))
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(r.Close(), r.Close()); err != nil {
		t.Error(err)
	}
	if err := errors.Join(r.Fdatasync(f), f.Close()); err != nil {
		t.Error(err)
	}
}
