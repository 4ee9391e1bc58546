package e2e

import (
	"strconv"
	"strings"
	"testing"
	"time"

	"raftkv/test/e2e/harness"
)

const (
	loadKeys      = 50_000
	loadKeysShort = 5_000
	loadWorkers   = 20
	loadSeed      = 1
	loadTime      = 5 * time.Minute
)

// TestLoadUnderCrashes writes 50,000 keys of 16 bytes to 64 KiB with etcd's
// client library from 20 goroutines, and some hundred more with etcdctl, while
// the leader is killed with kill -9 twice and restarted. Every acknowledged
// write must be on every node, revisions without holes, and the nodes equal.
func TestLoadUnderCrashes(t *testing.T) {
	keys := loadKeys
	if testing.Short() {
		keys = loadKeysShort
	}
	t.Logf("seed %d, %d keys", loadSeed, keys)
	c := harness.StartCluster(t, bin, 3)
	_, firstTerm := c.Leader()
	began := time.Now()
	loader := harness.Start(t, harness.Command{Name: "loader", Path: bin.Loader, Args: []string{
		"--endpoints", strings.Join(c.Endpoints(), ","), "--keys", strconv.Itoa(keys),
		"--workers", strconv.Itoa(loadWorkers), "--seed", strconv.Itoa(loadSeed),
	}})
	b := &books{acks: map[string]ack{}}
	for round := range 2 {
		// With n tenths of the load acknowledged: 1 and 5 kill, 4 and 8 restart.
		loader.LineCount(loadTime, keys*(1+4*round)/10)
		leader, _ := c.Leader()
		leader.Kill()
		b.burst(t, c)
		loader.LineCount(loadTime, keys*(4+4*round)/10)
		leader.Start()
		leader.Ready()
	}
	b.burst(t, c)
	if code := loader.Exit(loadTime); code != 0 {
		t.Fatalf("the loader ended with code %d", code)
	}
	took := time.Since(began)
	b.enter(t, loader.Stdout.Lines())
	if want := keys + 3*(burstPuts+burstTxns*burstTxnPuts); len(b.acks) != want {
		t.Errorf("%d keys were acknowledged, want %d", len(b.acks), want)
	}
	if _, term := c.Leader(); term < firstTerm+2 {
		t.Errorf("two leaders were killed and the term went from %d to %d only", firstTerm, term)
	}
	s := requireEqualStates(t, c.Nodes...)
	byRevision := requireContiguous(t, c.Client(), s)
	report(t, b.audit(s, byRevision))
	t.Logf("%d keys, %d MB in %v; %d writes repeated; revision %d", len(b.acks), b.bytes()>>20, took.Round(time.Second), b.repeated(), s.revision)
}
