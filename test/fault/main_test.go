package fault

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"raftkv/test/e2e/harness"
	"raftkv/test/fault/wire"
)

var (
	// bin are the binaries of this run. TestMain sets them before any test starts.
	bin harness.Binaries

	seedFlag = flag.Uint64("seed", 0, "seed of the faults; 0: one by chance")
	duration = flag.Duration("duration", 60*time.Second, "how long the mixed scenario harms the cluster, at least")
	built    = flag.String("bin", "", "directory in which raft-kv and raft-cli have been built; empty: they are built")
	points   = flag.Int("points", 10, "how many processes the scenario of kill points kills")
)

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
	if *built != "" {
		bin = harness.Binaries{RaftKV: filepath.Join(*built, "raft-kv"), RaftCLI: filepath.Join(*built, "raft-cli")}
		return m.Run(), nil
	}
	dir, err := os.MkdirTemp("", "raft-kv-fault-")
	if err != nil {
		return 0, err
	}
	defer func() {
		if removing := os.RemoveAll(dir); err == nil {
			err = removing
		}
	}()
	if bin, err = harness.BuildOurs(context.Background(), "../..", dir); err != nil {
		return 0, err
	}
	return m.Run(), nil
}

// seeded returns the chance of a test, and says how to have it again.
func seeded(t *testing.T) *rand.Rand {
	t.Helper()
	seed := *seedFlag
	if seed == 0 {
		seed = rand.Uint64N(1 << 32)
	}
	t.Logf("seed %d: go test ./test/fault -run '^%s$' -seed=%d -duration=%v -points=%d -timeout=0", seed, t.Name(), seed, *duration, *points)
	return rand.New(rand.NewPCG(seed, 1))
}

// requireNetwork skips where the faulty network does not work, loudly.
func requireNetwork(t *testing.T) {
	t.Helper()
	if wire.Supported {
		return
	}
	if os.Getenv("STRICT") == "1" {
		t.Fatal("the faulty network needs /proc of Linux")
	}
	t.Skip("SKIPPED: the faulty network needs /proc of Linux; with STRICT=1 this fails")
}
