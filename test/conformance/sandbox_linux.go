package conformance

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"syscall"

	"golang.org/x/sys/unix"
)

// sandboxName is argv[0] of the process that sets a sandbox up from inside.
const sandboxName = "raftkv-conformance-sandbox"

// EnterSandbox must be the first call of every main that uses Run. In a
// process that sandboxed started it does that process's work and does not
// return; anywhere else it does nothing.
func EnterSandbox() {
	if os.Args[0] != sandboxName {
		return
	}
	err := loopbackUp()
	if err == nil {
		cmd := exec.Command(os.Args[1], os.Args[2:]...)
		cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
		err = cmd.Run()
	}
	var exit *exec.ExitError
	switch {
	case err == nil:
		os.Exit(0)
	case errors.As(err, &exit) && exit.ExitCode() > 0:
		os.Exit(exit.ExitCode())
	default:
		fmt.Fprintln(os.Stderr, "sandbox:", err)
		os.Exit(1)
	}
}

// sandboxed prepares a command that runs alone on its loopback interface, as
// the first child of process 1 of its own process namespace: when that
// process ends, by itself or killed with ctx, the kernel ends all others.
// Without root it needs user namespaces.
func sandboxed(ctx context.Context, binary string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, "/proc/self/exe")
	cmd.Args = append([]string{sandboxName, binary}, args...)
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWNET | syscall.CLONE_NEWPID,
		Pdeathsig:  syscall.SIGKILL,
	}
	if uid := os.Geteuid(); uid != 0 {
		cmd.SysProcAttr.Cloneflags |= syscall.CLONE_NEWUSER
		cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{ContainerID: uid, HostID: uid, Size: 1}}
		cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{ContainerID: os.Getegid(), HostID: os.Getegid(), Size: 1}}
		cmd.SysProcAttr.AmbientCaps = []uintptr{unix.CAP_NET_ADMIN}
	}
	return cmd
}

// SandboxMeans says why this machine cannot make sandboxes; nil if it can.
func SandboxMeans(ctx context.Context) error {
	out, err := sandboxed(ctx, "/bin/true").CombinedOutput()
	if err != nil {
		return fmt.Errorf("no network and process namespaces here (root, or user namespaces, are needed): %w %s", err, out)
	}
	return nil
}

// loopbackUp raises lo, which a new network namespace has, but down.
func loopbackUp() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("a socket to configure lo with: %w", err)
	}
	lo, err := unix.NewIfreq("lo")
	if err == nil {
		lo.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
		err = unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, lo)
	}
	if err := errors.Join(err, unix.Close(fd)); err != nil {
		return fmt.Errorf("raise lo: %w", err)
	}
	return nil
}
