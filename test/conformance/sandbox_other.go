//go:build !linux

package conformance

import (
	"context"
	"errors"
	"os/exec"
)

var errNoSandbox = errors.New("no network and process namespaces here: this needs Linux")

// EnterSandbox does nothing here.
func EnterSandbox() {}

// SandboxMeans says why this machine cannot make sandboxes.
func SandboxMeans(context.Context) error { return errNoSandbox }

// sandboxed is never reached: Run asks SandboxMeans first.
func sandboxed(context.Context, string, ...string) *exec.Cmd { return &exec.Cmd{Err: errNoSandbox} }
