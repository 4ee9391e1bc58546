package server

import (
	"time"

	"go.uber.org/zap"

	"raftkv/node"
	"raftkv/statemachine"
)

// leaseReads has the node keep leader leases as the cluster has decided, and
// the data directory remember what may have been promised (docs/adr/0009-lease-reads.md).
type leaseReads struct {
	s       *Server
	changed chan struct{} // capacity 1: the decision may be another
}

func newLeaseReads(s *Server) *leaseReads { return &leaseReads{s: s, changed: make(chan struct{}, 1)} }

// wake is for the state machine: it does not block.
func (l *leaseReads) wake() {
	select {
	case l.changed <- struct{}{}:
	default:
	}
}

// run follows the decision until the member stops. The directory remembers a
// promise before it is made, and until it has run out.
func (l *leaseReads) run(n *node.Node) {
	remembered := l.s.rooms.promised()
	for {
		want := l.s.rooms.machine.LeaseReads()
		if want > remembered {
			if err := l.s.rooms.markPromised(want); err != nil {
				l.s.cfg.Logger.Error("cannot record promises to leaders in the data directory; this member makes none", zap.Error(err))
				want = 0
			} else {
				remembered = want
			}
		}
		if n.SetLeaderLease(l.s.ctx, want) != nil {
			return
		}
		// What was promised until now has run out then; or it is time to try again.
		again := time.NewTimer(max(remembered, time.Second))
		select {
		case <-l.s.ctx.Done():
		case <-l.changed:
		case <-again.C:
			if want < remembered && l.s.rooms.markPromised(want) == nil {
				remembered = want
			}
		}
		again.Stop()
		if l.s.ctx.Err() != nil {
			return
		}
	}
}

// LeasePromise implements kvstream.Backend: three heartbeats, so that a leader
// keeps its lease although one is lost, and no longer than half an election
// timeout. A voter that knows that its leader is gone waits for as long at most.
func (b backend) LeasePromise() time.Duration {
	promise := min(3*b.s.cfg.HeartbeatInterval, b.s.cfg.ElectionTimeout/2)
	return min(max(promise, statemachine.LeasePromiseMin), statemachine.LeasePromiseMax)
}

// promised is for how long earlier lives of this member may have promised
// leaders not to help others to win.
func (r *rooms) promised() time.Duration {
	if r.dir == nil {
		return 0 // a restart in memory mode is another member
	}
	return r.dir.PromisedNS
}

func (r *rooms) markPromised(length time.Duration) error {
	if r.dir == nil {
		return nil
	}
	return r.dir.MarkPromised(length)
}
