package e2e

import (
	"context"
	"flag"
	"fmt"
	"os"
	"testing"

	"raftkv/test/e2e/harness"
)

// bin are the binaries of this run. TestMain sets them before any test starts.
var bin harness.Binaries

func TestMain(m *testing.M) {
	flag.Parse()
	code, err := run(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

func run(m *testing.M) (code int, err error) {
	dir, err := os.MkdirTemp("", "raft-kv-e2e-")
	if err != nil {
		return 0, err
	}
	defer func() {
		if removing := os.RemoveAll(dir); err == nil {
			err = removing
		}
	}()
	if bin, err = harness.Build(context.Background(), "../..", dir); err != nil {
		return 0, err
	}
	return m.Run(), nil
}
