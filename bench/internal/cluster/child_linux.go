package cluster

import "syscall"

// childAttributes puts a server into its own process group, so that Ctrl-C on
// the terminal reaches only bench, which then ends the servers in order; and
// has the kernel kill it when bench dies without doing so.
func childAttributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}
