//go:build !linux

package cluster

import "syscall"

// childAttributes: dying with the parent exists on Linux only.
func childAttributes() *syscall.SysProcAttr { return nil }
