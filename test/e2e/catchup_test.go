package e2e

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"regexp"
	"strconv"
	"testing"
	"time"

	"raftkv/rpc/kvstream/kvpb"
	"raftkv/test/e2e/harness"
)

var catchUpMiB = flag.Int("catchup-mib", 64, "what TestCatchUp writes while a node is down, in MiB")

const (
	catchUpCuts       = 2
	catchUpValueBytes = 256 << 10
)

// TestCatchUp stops a node while much is written, and lets it come back through a
// snapshot while clients write. The network to it is cut twice on the way: the
// transfer goes on where it was.
func TestCatchUp(t *testing.T) {
	c, relay := relayedCluster(t, 3, "--snapshot-count=50", "--snapshot-catchup-entries=10",
		fmt.Sprintf("--snapshot-rate-bytes=%d", max(16, *catchUpMiB/16)<<20))
	late := c.Nodes[2]
	late.Kill()
	leader, _ := c.Leader(c.Others(late)...)
	leader.Fill("filled/", *catchUpMiB<<20/catchUpValueBytes, catchUpValueBytes)

	w := startWriter(t, c.Client(c.Others(late)...))
	w.acknowledged(10)
	leader.ReleasesLog(nil)
	began := time.Now()
	late.Start()
	for cut := range catchUpCuts {
		done, total := awaitTransfer(t, leader, late, uint64(cut+1)*uint64(*catchUpMiB)<<20/(catchUpCuts+2))
		if cut == 0 {
			requireTransferShown(t, c)
		}
		if broken := relay.Cut(); broken == 0 {
			t.Fatal("there was no connection to cut")
		}
		t.Logf("cut %d with %d of %d MiB received, after %v", cut+1, done>>20, total>>20, time.Since(began).Round(time.Millisecond))
	}
	var m map[string]float64
	harness.Until(t, 10*harness.Patience, "the snapshot to be installed", func(ctx context.Context) (err error) {
		if m, err = late.Metrics(ctx); err == nil && m["raftkv_snapshot_installed_total"] == 0 {
			err = errors.New("none is installed")
		}
		return err
	})
	took := time.Since(began)
	late.Ready()
	before := w.count()
	w.acknowledged(before + 10)
	longest := w.stop()
	requireEqualStates(t, c.Nodes...)

	m, err := late.Metrics(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d MiB in %v: %.0f snapshots installed, %.0f MiB received, %.0f MiB resumed, %.0f MiB reused; %d writes meanwhile, the slowest took %v",
		*catchUpMiB, took.Round(time.Millisecond), m["raftkv_snapshot_installed_total"], m["raftkv_snapshot_received_bytes_total"]/(1<<20),
		m["raftkv_snapshot_resumed_bytes_total"]/(1<<20), m["raftkv_snapshot_reused_bytes_total"]/(1<<20), before, longest.Round(time.Millisecond))
	if n := m["raftkv_snapshot_resumed_bytes_total"]; n < float64(*catchUpMiB<<20)/8 {
		t.Errorf("after %d cuts only %.0f bytes were there already", catchUpCuts, n)
	}
	if n := m["raftkv_snapshot_received_bytes_total"]; n > 1.5*float64(*catchUpMiB<<20) {
		t.Errorf("%.0f bytes were received for a state of %d MiB", n, *catchUpMiB)
	}
}

// requireTransferShown checks what raft-cli status says of a transfer.
func requireTransferShown(t *testing.T, c *harness.Cluster) {
	t.Helper()
	r := c.CLI(c.Nodes[:2], "", "status")
	want := regexp.MustCompile(`(?m)^  Node \d: LEADER    \(log: \d+ entries\) \*\n` +
		`    Sending a snapshot to node 3: \d+\.\d MiB of \d+\.\d MiB, \d+\.\d MiB to go, \d+\.\d MiB/s, \S+ left$`)
	if r.Code != 0 || !want.MatchString(r.Stdout) {
		t.Errorf("raft-cli status does not show the transfer: %v", r)
	}
	t.Logf("raft-cli status:\n%s", r.Stdout)
}

// relayedCluster starts a cluster whose last node is reached by its peers through
// a relay.
func relayedCluster(t *testing.T, nodes int, flags ...string) (*harness.Cluster, *harness.Relay) {
	t.Helper()
	c := harness.NewCluster(t, bin, nodes, flags...)
	first := harness.FreePorts(t, nodes)
	relay := harness.NewRelay(t, fmt.Sprintf("localhost:%d", first+nodes-1))
	peerings := make([]harness.Peering, nodes)
	for n := range nodes {
		peerings[n] = harness.Peering{Listen: first + n, URL: fmt.Sprintf("http://localhost:%d", first+n)}
	}
	peerings[nodes-1].URL = "http://" + relay.Address()
	c.UseLongForm(peerings)
	c.Start()
	c.Ready()
	return c, relay
}

// awaitTransfer waits until the node that is late has that much of a snapshot, as
// its sender says.
func awaitTransfer(t *testing.T, sender, late *harness.Node, bytes uint64) (done, total uint64) {
	t.Helper()
	harness.Until(t, 10*harness.Patience, "the transfer of a snapshot", func(ctx context.Context) error {
		s, err := sender.Status(ctx)
		if err != nil {
			return err
		}
		for _, transfer := range s.GetSnapshots() {
			done, total = transfer.GetDoneBytes(), transfer.GetTotalBytes()
			if transfer.GetSending() && transfer.GetMemberName() == strconv.Itoa(late.Number) && done >= bytes && done < total {
				return nil
			}
		}
		return fmt.Errorf("transfers: %v", transfersOf(s))
	})
	return done, total
}

func transfersOf(s *kvpb.StatusResponse) (all []string) {
	for _, t := range s.GetSnapshots() {
		all = append(all, t.String())
	}
	return all
}
