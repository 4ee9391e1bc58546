package sim

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/protobuf/proto"

	"raftkv/node"
	"raftkv/statemachine"
	"raftkv/statemachine/envelope"
)

// leases is what clients were promised of their leases, and what became of them.
type leases struct {
	s *simulation
	// until is until when a lease has to live, by its grant and its renewals.
	until map[int64]time.Duration
	// gone is when the first member applied the end of a lease.
	gone map[int64]time.Duration
}

func (l *leases) changed(h *host, c statemachine.LeaseChange) {
	_, granted := l.until[c.ID]
	_, gone := l.gone[c.ID]
	switch {
	case c.Granted && !granted:
		l.s.report.LeasesGranted++
		l.until[c.ID] = l.s.clock.now + time.Duration(c.TTLSeconds)*time.Second
	case c.Gone && !gone:
		l.s.report.LeasesExpired++
		l.gone[c.ID] = l.s.clock.now
		l.inTime(h, c.ID)
	}
}

// renewed takes note of the answer of a leader.
func (l *leases) renewed(h *host, id int64, ttl time.Duration) {
	l.s.trace.note(l.s.clock.now, "renewed", h.id, uint64(id))
	l.s.report.LeasesRenewed++
	l.until[id] = max(l.until[id], l.s.clock.now+ttl)
	l.inTime(h, id)
}

func (l *leases) inTime(h *host, id int64) {
	if gone, ok := l.gone[id]; ok && gone < l.until[id] {
		l.s.check.fail("lease %d was revoked for its age at %s, it was promised to live until %s (member %d)", id, gone, l.until[id], h.id)
	}
}

const (
	leaseClients    = 3
	leaseTTLMin     = 2 // seconds; as one and a half election timeouts
	leaseTTLSpread  = 3
	leaseRenewals   = 6
	leasePrefix     = "lease-"
	leaseValueBegin = "L"
)

// leaseClient grants a lease, attaches a key, renews it for a while, and forgets
// it.
type leaseClient struct {
	s   *simulation
	id  int64
	rng *rand.Rand
	n   int64
}

func (c *leaseClient) rest() {
	c.s.clock.after(time.Duration(c.rng.ExpFloat64()*float64(time.Second)), c.next)
}

func (c *leaseClient) next() {
	if c.s.stopClients {
		return
	}
	c.n++
	id, ttl := c.id*1_000_000+c.n, leaseTTLMin+c.rng.Int64N(leaseTTLSpread)
	c.propose(envelope.KindLeaseGrant, &pb.LeaseGrantRequest{ID: id, TTL: ttl}, func(ok bool) {
		if !ok {
			c.rest() // should it exist, it will expire
			return
		}
		put := &pb.PutRequest{Key: fmt.Appendf(nil, "%s%d", leasePrefix, c.id), Value: fmt.Appendf(nil, "%s%d", leaseValueBegin, id), Lease: id}
		c.propose(envelope.KindPut, put, func(bool) {})
		c.renew(id, ttl, c.rng.IntN(leaseRenewals))
	})
}

// renew asks some member to renew the lease, which asks the leader.
func (c *leaseClient) renew(id, ttl int64, times int) {
	if times == 0 || c.s.stopClients {
		c.rest()
		return
	}
	c.atSome(func(p *process) { p.toLeader(func(q *process) { q.leasing.renew(id) }) })
	c.s.clock.after(time.Duration(ttl)*time.Second/3, func() { c.renew(id, ttl, times-1) })
}

// atSome brings something to a member that serves, if the one that is drawn does.
func (c *leaseClient) atSome(do func(*process)) {
	target := c.s.anyone(c.rng)
	c.s.clock.after(c.s.net.clientWay(c.rng), func() {
		if p := target.process; p != nil {
			p.now(func() {
				if p.serves() {
					do(p)
				}
			})
		}
	})
}

// propose has some member propose; done is called in any case.
func (c *leaseClient) propose(kind envelope.Kind, m proto.Message, done func(ok bool)) {
	body, err := proto.Marshal(m)
	if err != nil {
		c.s.fail("encode a request: %v", err)
		return
	}
	answered := false
	finish := func(ok bool) {
		if !answered {
			answered = true
			done(ok)
		}
	}
	c.atSome(func(p *process) {
		p.propose(kind, body, patienceMin, func(r node.Result) { finish(r.Err == nil) })
	})
	c.s.clock.after(2*patienceMin, func() { finish(false) })
}

// leaseWrite checks a revision that concerns keys with leases: such a key is
// written once by each lease, and goes only with it.
func (s *simulation) leaseWrite(revision int64, changes []change, written map[string]bool, attached map[string]int64) {
	for _, c := range changes {
		if c.deleted {
			if _, gone := s.leases.gone[attached[c.key]]; !gone {
				s.fail("revision %d deletes %s, whose lease %d lives", revision, c.key, attached[c.key])
			}
			delete(attached, c.key)
			continue
		}
		if written[c.value] || c.value != fmt.Sprintf("%s%d", leaseValueBegin, c.lease) {
			s.fail("revision %d wrote %+v, which nobody asked for, or not again", revision, c)
		}
		written[c.value], attached[c.key] = true, c.lease
	}
}

func ofLease(changes []change) bool {
	return len(changes) > 0 && strings.HasPrefix(changes[0].key, leasePrefix)
}
