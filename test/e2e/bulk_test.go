package e2e

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"raftkv/test/e2e/harness"
)

// TestBulk moves values of 1 MiB, of which a log holds few. First with every
// node: large appends must not delay heartbeats so much that somebody calls an
// election (row 13). Then without one node, until the others have released what
// it lacks: it must come back through a snapshot.
func TestBulk(t *testing.T) {
	c := harness.StartCluster(t, bin, 3)
	leader, term := c.Leader()
	const together = 60
	for i := range together {
		putLarge(t, leader, i)
	}
	if _, now := c.Leader(); now != term {
		t.Errorf("%d values of 1 MiB moved the cluster from term %d to %d", together, term, now)
	}

	late := c.Others(leader)[0]
	has, err := late.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	late.Kill()
	oldState := filepath.Join(t.TempDir(), "state")
	if err := os.CopyFS(oldState, os.DirFS(stateDir(late))); err != nil {
		t.Fatal(err)
	}
	written := together
	for ; released(t, leader) <= has.GetLastIndex()+1; written++ { // the next one it needs must be gone
		if written > together+500 {
			t.Fatalf("after %d values of 1 MiB the log still starts at %d", written, released(t, leader))
		}
		putLarge(t, leader, written)
	}
	t.Logf("after %d more values of 1 MiB the log starts at entry %d; the node that is down has %d",
		written-together, released(t, leader), has.GetLastIndex())

	late.Start()
	late.Ready()
	s := requireEqualStates(t, c.Nodes...)
	if len(s.records) != written {
		t.Errorf("the nodes hold %d keys of %d", len(s.records), written)
	}
	// It takes part again: with it, and without another one, writes go on.
	other := c.Others(leader, late)[0]
	other.Kill()
	put(t, c.Client(leader, late), "name", "Alice")
	if now, err := late.Status(t.Context()); err != nil || now.GetFirstIndex() <= has.GetLastIndex() {
		t.Errorf("the log of the node that returned starts at %d, though it cannot have got entry %d (%v)", now.GetFirstIndex(), has.GetLastIndex()+1, err)
	}
	// What it got by the snapshot is its own now. With the state it had before, as
	// from a backup of half a directory, it would lack acknowledged writes.
	late.Kill()
	newState := filepath.Join(t.TempDir(), "state")
	for _, move := range [][2]string{{stateDir(late), newState}, {oldState, stateDir(late)}} {
		if err := os.Rename(move[0], move[1]); err != nil {
			t.Fatal(err)
		}
	}
	refuses(t, late.Command(), 1, `^raft-kv: .*`+late.DataDir()+`.*older than the log.*remove this member`)
	for _, move := range [][2]string{{stateDir(late), oldState}, {newState, stateDir(late)}} {
		if err := os.Rename(move[0], move[1]); err != nil {
			t.Fatal(err)
		}
	}
	late.Start()
	late.Ready()
	other.Start()
	other.Ready()
	requireEqualStates(t, c.Nodes...)
}

// stateDir is where a node keeps its state.
func stateDir(n *harness.Node) string { return filepath.Join(n.DataDir(), "member", "state") }

// putLarge writes 1 MiB that cannot be compressed.
func putLarge(t *testing.T, n *harness.Node, number int) {
	t.Helper()
	value := make([]byte, 1<<20)
	rng := rand.NewChaCha8([32]byte{byte(number), byte(number >> 8)})
	if _, err := rng.Read(value); err != nil {
		t.Fatal(err)
	}
	if _, err := n.Client().Put(t.Context(), fmt.Sprintf("large/%04d", number), string(value)); err != nil {
		t.Fatalf("value %d: %v", number, err)
	}
}

// released is where a node's log starts.
func released(t *testing.T, n *harness.Node) (firstIndex uint64) {
	t.Helper()
	harness.Until(t, harness.Patience, "status of the node", func(ctx context.Context) error {
		s, err := n.Status(ctx)
		firstIndex = s.GetFirstIndex()
		return err
	})
	return firstIndex
}
