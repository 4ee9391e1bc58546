package e2e

import (
	"context"
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"

	"raftkv/test/e2e/harness"
)

// electionTimeout is the default that the nodes here run with. After a
// hand-over nobody waits for it.
const electionTimeout = time.Second

// TestGracefulStop stops the leader with SIGTERM under writes: it hands over,
// ends with code 0, frees its port and resumes with the same flags.
func TestGracefulStop(t *testing.T) {
	c := harness.StartCluster(t, bin, 3)
	leader, term := c.Leader()
	others := c.Others(leader)
	w := startWriter(t, others[0].Client())
	w.acknowledged(20)

	leader.Signal(syscall.SIGTERM)
	if code := leader.Exit(stopTime); code != 0 {
		t.Errorf("exit code %d after SIGTERM", code)
	}
	if err := harness.Free(leader.Port); err != nil {
		t.Error(err)
	}
	if strings.Contains(leader.Stderr.String(), "without handing leadership over") {
		t.Error("the leader kept its leadership to the end")
	}
	_, next := c.Leader(others...)
	if next != term+1 {
		t.Errorf("term %d follows term %d; a hand-over takes one election", next, term)
	}
	w.acknowledged(w.count() + 20)
	if gap := w.stop(); gap >= electionTimeout {
		t.Errorf("a write took %v: somebody waited for an election timeout", gap)
	}

	leader.Start()
	leader.Ready()
	if _, now := c.Leader(); now != next {
		t.Errorf("the return of the node moved the cluster from term %d to %d", next, now)
	}
	harness.Until(t, harness.Patience, "the node that returned to hold every write", func(ctx context.Context) error {
		held, err := countLocal(ctx, leader, "written/")
		if err == nil && held != int64(w.count()) {
			err = fmt.Errorf("it holds %d of %d", held, w.count())
		}
		return err
	})
}

// TestLeaderCrash kills the leader with kill -9 under writes that go through
// another node. None may fail, and none waits for an election timeout: the
// others see that the leader's process is gone.
func TestLeaderCrash(t *testing.T) {
	c := harness.StartCluster(t, bin, 3)
	leader, _ := c.Leader()
	others := c.Others(leader)
	w := startWriter(t, others[0].Client())
	w.acknowledged(20)
	leader.Kill()
	w.acknowledged(w.count() + 20)
	gap := w.stop()
	t.Logf("the longest write took %v", gap)
	if gap >= electionTimeout {
		t.Errorf("a write took %v: somebody waited for an election timeout", gap)
	}
	for key, r := range requireEqualStates(t, others...).records {
		if r.version != 1 {
			t.Errorf("%q was written once and has version %d", key, r.version)
		}
	}
}

// TestCatchingUp starts a node that missed several hundred entries and reads
// what it says of it.
func TestCatchingUp(t *testing.T) {
	const missed = 400
	c := harness.StartCluster(t, bin, 3)
	late := c.Others(first(c.Leader()))[0]
	late.Signal(syscall.SIGTERM)
	if code := late.Exit(stopTime); code != 0 {
		t.Errorf("exit code %d after SIGTERM", code)
	}
	leader, _ := c.Leader(c.Others(late)...)
	// A write that waits for the one before it is a log entry of its own.
	for i := range missed {
		if _, err := leader.Client().Put(t.Context(), fmt.Sprintf("missed/%d", i), "x"); err != nil {
			t.Fatal(err)
		}
	}
	late.Start()
	end := fmt.Sprintf("[FOLLOWER] Caught up! Leader is node %d", leader.Number)
	late.ExactLine(harness.Patience, end)
	story := late.Stdout.Lines()
	var entries, begin, caught int
	for i, line := range story {
		if _, err := fmt.Sscanf(line, "[FOLLOWER] Catching up... (%d log entries)", &entries); err == nil {
			begin = i
		}
		if line == end {
			caught = i
		}
	}
	if begin == 0 || caught <= begin {
		t.Fatalf("the story is %q", story)
	}
	// It may have heard of them in two heartbeats, and of a few entries more.
	if entries < missed*9/10 || entries > missed+20 {
		t.Errorf("%d entries are said to be missing, about %d were written", entries, missed)
	}
	if held, err := countLocal(t.Context(), late, "missed/"); err != nil || held != missed {
		t.Errorf("after it caught up the node holds %d keys of %d (%v)", held, missed, err)
	}
}

// first drops what a test does not need.
func first[A, B any](a A, _ B) A { return a }
