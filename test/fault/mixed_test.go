package fault

import (
	"slices"
	"testing"
	"time"
)

const mixedNodes = 5

// Minimums of what must have happened for a run to mean something. Each kind of
// misfortune happens at least once.
const (
	acknowledgedLeast = 2000
	readsLeast        = 1000
	electionsLeast    = 5
	crashesLeast      = 10
	installsLeast     = 3
	changesLeast      = 3
	readsByLeaseLeast = 500
)

// TestMixed harms five nodes in every way there is while ten clients read and
// write.
func TestMixed(t *testing.T) {
	w := newWorld(t, seeded(t), mixedNodes, "--snapshot-count=50", "--snapshot-catchup-entries=10")
	w.mix(misfortunes())
}

// TestMixedLeaseReads does the same while reads are answered by leases.
func TestMixedLeaseReads(t *testing.T) {
	w := newWorld(t, seeded(t), mixedNodes, "--snapshot-count=50", "--snapshot-catchup-entries=10")
	w.leaseReads(true)
	w.mix(append(misfortunes(), leaseMisfortunes()...))
	if w.byLease < readsByLeaseLeast {
		t.Errorf("only %d rounds of reads by a lease, the run needs %d to mean something", w.byLease, readsByLeaseLeast)
	}
}

// mix deals misfortunes until all have struck and time is up.
func (w *world) mix(deck []misfortune) {
	t, rng := w.t, w.rng
	w.work = startWorkload(t.Context(), rng, w.c.Endpoints())
	t.Cleanup(func() { w.work.stop(); w.work.clients.Wait() })
	w.progress(100)
	struck := 0
	for began := time.Now(); struck < len(deck) || time.Since(began) < *duration; struck++ {
		if struck%len(deck) == 0 {
			rng.Shuffle(len(deck), func(i, j int) { deck[i], deck[j] = deck[j], deck[i] })
		}
		m := deck[struck%len(deck)]
		before, acked := time.Now(), w.work.acknowledged.Load()
		m.do(w)
		over := time.Now()
		w.well()
		w.countLeases()
		t.Logf("%6.1f s: %s, for %.1f s; well after %.1f s; %d writes meanwhile", before.Sub(began).Seconds(), m.name,
			over.Sub(before).Seconds(), time.Since(over).Seconds(), w.work.acknowledged.Load()-acked)
	}
	served := time.Since(w.work.began)
	for _, err := range w.work.end() {
		t.Error(err)
	}
	revision, hash := w.c.EqualHashes()
	t.Logf("all %d nodes hold %08x at revision %d", len(w.c.Nodes), hash, revision)
	w.report(served, struck)
	w.requireEnough()
}

func (w *world) report(served time.Duration, struck int) {
	work := w.work
	slices.Sort(work.taken)
	at := func(share float64) time.Duration {
		if len(work.taken) == 0 {
			return 0
		}
		return work.taken[int(share*float64(len(work.taken)-1))].Round(100 * time.Microsecond)
	}
	dialled, strangers := w.net.Dialled()
	w.t.Logf("%d misfortunes in %v: %d writes acknowledged, %d reads, %d of unknown outcome, %d refused (%.0f operations/s; p50 %v, p99 %v, slowest %v); %d epochs checked",
		struck, served.Round(time.Second), work.acknowledged.Load(), work.reads.Load(), work.unknown.Load(), work.refused.Load(),
		float64(work.acknowledged.Load()+work.reads.Load())/served.Seconds(), at(0.5), at(0.99), work.slowest.Round(time.Millisecond), work.checked)
	w.t.Logf("%d elections, %d crashes, %d snapshots installed, %d membership changes; %d connections between nodes, %d of strangers",
		w.elections(), w.crashes, w.installs, w.changes, dialled, strangers)
}

func (w *world) requireEnough() {
	for _, c := range []struct {
		what        string
		have, least int
	}{
		{"writes acknowledged", int(w.work.acknowledged.Load()), acknowledgedLeast},
		{"reads", int(w.work.reads.Load()), readsLeast},
		{"elections", w.elections(), electionsLeast},
		{"crashes", w.crashes, crashesLeast},
		{"snapshots installed", w.installs, installsLeast},
		{"membership changes", w.changes, changesLeast},
		{"epochs checked", w.work.checked, 2},
	} {
		if c.have < c.least {
			w.t.Errorf("only %d %s, the run needs %d to mean something", c.have, c.what, c.least)
		}
	}
}
