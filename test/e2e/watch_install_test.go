package e2e

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"

	clientv3 "go.etcd.io/etcd/client/v3"

	"raftkv/test/e2e/harness"
)

const (
	installWatchers = 20
	installWrites   = 1500 // while the watched node stands still
)

// TestWatchAcrossInstall: a node is paused until the others have released what
// it needs of the log, and gets a snapshot when it goes on. Its watchers, whose
// streams live on, are told what happened meanwhile as if nothing had: all of it,
// once, in order.
func TestWatchAcrossInstall(t *testing.T) {
	c := harness.StartCluster(t, bin, 3, "--snapshot-count=50", "--snapshot-catchup-entries=10")
	leader, _ := c.Leader()
	late := c.Others(leader)[0]
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	defer running.Wait()
	defer cancel()
	var created sync.WaitGroup
	var prefixes, singles []*account
	for n := range installWatchers {
		stock := late.Client()
		prefixes = append(prefixes, follow(ctx, stock, fmt.Sprintf("prefix watcher %d", n), watchPrefix, &created, &running, clientv3.WithPrefix()))
		singles = append(singles, follow(ctx, stock, "watcher of "+watchedKey(n), watchedKey(n), &created, &running))
	}
	created.Wait()

	load := &watchWrites{keys: installWatchers}
	writing, stop := context.WithCancel(t.Context())
	defer stop()
	var writers sync.WaitGroup
	defer writers.Wait()
	defer stop()
	for n := range watchWriters {
		writers.Go(func() { load.run(writing, leader.Client(), n) })
	}
	acknowledged := func(more int64) {
		t.Helper()
		want := load.acked.Load() + more
		harness.Until(t, 4*harness.Patience, "more acknowledged writes", func(context.Context) error {
			if got := load.acked.Load(); got < want {
				return fmt.Errorf("%d of %d", got, want)
			}
			return nil
		})
	}
	acknowledged(200)
	before := installedOn(t, late)
	late.Pause()
	acknowledged(installWrites)
	leader.ReleasesLog(nil)
	late.Resume()
	harness.Until(t, 2*harness.Patience, "a snapshot to be installed", func(ctx context.Context) error {
		if m, err := late.Metrics(ctx); err != nil || m["raftkv_snapshot_installed_total"] == before {
			return errors.Join(err, errors.New("none is"))
		}
		return nil
	})
	acknowledged(200)
	stop()
	writers.Wait()
	end := load.finish(t, leader.Client())
	truths := readTruth(t, c, end)
	waitForWatchers(t, end, append(prefixes, singles...))
	compareWatchers(t, truths, prefixes, singles)
	checkWatchMetrics(t, c)
	t.Logf("%d acknowledged writes, %d revisions, %.0f snapshots installed", load.acked.Load(), end[""], installedOn(t, late)-before)
}

func installedOn(t *testing.T, n *harness.Node) float64 {
	t.Helper()
	m, err := n.Metrics(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return m["raftkv_snapshot_installed_total"]
}
