package harness

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"syscall"
)

// attributes put a process into a group of its own, so that Ctrl-C on the
// terminal reaches the tests only, and tie its life to the thread that starts it.
func attributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}

// stopped tells whether all of a process stands still, which is a moment after
// SIGSTOP was sent.
func stopped(pid int) error {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return err
	}
	// The state follows the name, which is in parentheses and may hold any byte.
	_, rest, ok := bytes.Cut(stat[bytes.LastIndexByte(stat, ')'):], []byte{' '})
	if !ok || len(rest) == 0 || rest[0] != 'T' {
		return errors.New("the process still runs")
	}
	return nil
}
