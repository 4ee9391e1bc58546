package fault

import (
	"context"
	"errors"
	"time"

	raftkv "raftkv/client"
	"raftkv/test/e2e/harness"
)

// leaseMisfortunes are those that aim at a leader's lease.
func leaseMisfortunes() []misfortune {
	return []misfortune{
		{"a leader is cut off by a firewall, and paused", cutOffAndPaused},
		{"a leader is cut off, and everybody else restarts", restartOthers},
		{"a leader that hands over is cut off", cutOffHandingOver},
		{"lease reads are off for a while", func(w *world) {
			w.leaseReads(false)
			w.hold(500*time.Millisecond, time.Second)
			w.leaseReads(true)
		}},
	}
}

// cutOffAndPaused: the others learn at once that the leader's connections broke,
// and elect another as soon as they may; then it wakes up, and its clients with it.
func cutOffAndPaused(w *world) {
	leader, _ := w.c.Leader()
	leader.Pause()
	split(w, []*harness.Node{leader}, false)
	w.net.Reset(func(dials, reaches int) bool { return dials == leader.Number || reaches == leader.Number })
	w.hold(300*time.Millisecond, time.Second)
	leader.Resume()
	w.hold(500*time.Millisecond, time.Second)
	w.must(w.net.Heal())
}

func restartOthers(w *world) {
	leader, _ := w.c.Leader()
	others := w.c.Others(leader)
	split(w, []*harness.Node{leader}, true)
	w.kill(others...)
	for _, n := range others {
		w.start(n)
	}
	w.hold(time.Second, 2*time.Second)
	w.must(w.net.Heal())
}

func cutOffHandingOver(w *world) {
	leader, _ := w.c.Leader()
	moveLeader(w)
	split(w, []*harness.Node{leader}, false)
	w.hold(time.Second, 2*time.Second)
	w.must(w.net.Heal())
}

// leaseReads switches them on or off, through whoever answers.
func (w *world) leaseReads(on bool) {
	w.t.Helper()
	var endpoints []string
	for _, n := range w.c.Nodes {
		endpoints = append(endpoints, n.Address)
	}
	c, err := raftkv.New(raftkv.Config{Endpoints: endpoints})
	w.must(err)
	defer func() { w.must(c.Close()) }()
	harness.Until(w.t, harness.Patience, "lease reads to be switched", func(ctx context.Context) error {
		_, err := c.SetLeaseReads(ctx, on)
		return err
	})
	if w.leases = on; !on {
		return
	}
	harness.Until(w.t, harness.Patience, "a lease", func(ctx context.Context) error {
		for _, n := range w.c.Nodes {
			if s, err := n.Status(ctx); err == nil && s.GetLeaseHeld() {
				return nil
			}
		}
		return errors.New("nobody has one")
	})
}

// countLeases adds up what the nodes' metrics say since they were read last. What
// a process counted before it died is lost.
func (w *world) countLeases() {
	if !w.leases {
		return
	}
	for _, n := range w.c.Nodes {
		m, err := n.Metrics(w.t.Context())
		w.must(err)
		now := int(m[`raftkv_node_read_rounds_total{by="lease"}`])
		w.byLease += now - w.counted[n.Process]
		w.counted[n.Process] = now
	}
}
