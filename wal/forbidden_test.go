//go:build linux

package wal

import (
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"
	"unsafe"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
	"golang.org/x/sys/unix"
)

// forbidden, in the environment, has the process forbid itself io_uring.
const forbidden = "RAFTKV_TEST_FORBID_IO_URING"

// TestForbiddenRing: where a container's seccomp profile forbids io_uring, as
// Docker's default one does, the log is synced by the system call, and whoever
// reads the member's log learns why. A filter cannot be taken away again, so this
// is done in a process of its own.
func TestForbiddenRing(t *testing.T) {
	if os.Getenv(forbidden) == "" {
		cmd := exec.Command(os.Args[0], "-test.run=^TestForbiddenRing$", "-test.count=1", "-test.v")
		cmd.Env = append(os.Environ(), forbidden+"=1")
		out, err := cmd.CombinedOutput()
		switch {
		case err != nil:
			t.Fatalf("%v:\n%s", err, out)
		case strings.Contains(string(out), "SKIPPED"):
			t.Skipf("SKIPPED: %s", out)
		}
		return
	}
	if err := forbid(unix.SYS_IO_URING_SETUP); err != nil {
		t.Skipf("SKIPPED: no seccomp filter for us: %v", err)
	}
	core, logs := observer.New(zap.InfoLevel)
	opts := testOptions(t)
	opts.SyncAside, opts.Logger = true, zap.New(core)
	l := mustCreate(t, opts)
	if !l.SyncHoldsProcessor() {
		t.Error("synced aside, though it is forbidden")
	}
	mustClose(t, l)
	said := logs.FilterMessageSnippet("synced by a system call that holds a processor").All()
	if len(said) != 1 || said[0].ContextMap()["reason"] != "set up io_uring: operation not permitted" {
		t.Errorf("logged %v, want one line with the reason", said)
	}
}

// forbid has a system call refused with EPERM, in all threads of this process.
func forbid(call uint32) error {
	runtime.LockOSThread() // which the first call is about
	defer runtime.UnlockOSThread()
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return err
	}
	filter := []unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: 0}, // the number of the call
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, Jt: 0, Jf: 1, K: call},
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ERRNO | uint32(unix.EPERM)},
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ALLOW},
	}
	program := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	_, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, unix.SECCOMP_FILTER_FLAG_TSYNC, uintptr(unsafe.Pointer(&program)))
	if errno != 0 {
		return errno
	}
	return nil
}
