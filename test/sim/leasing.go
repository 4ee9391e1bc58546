package sim

import (
	"errors"
	"time"

	"raftkv/node"
	"raftkv/server/lessor"
	"raftkv/statemachine"
	"raftkv/statemachine/envelope"
)

// leasing looks after the leases while a process leads, with the lessor's own
// book of deadlines. What lessor.Lessor does on goroutines is here as events.
type leasing struct {
	p       *process
	term    uint64
	book    *lessor.Book // nil: not loaded
	loading bool
}

const (
	leaseCheckEvery  = 500 * time.Millisecond
	leaseRecordEvery = time.Second
	leaseRetry       = 2 * time.Second
	leaseGrace       = time.Second // the election timeout
	revokesPerCheck  = 8
)

// clockTime is virtual time as the lessor wants it.
func (s *simulation) clockTime() time.Time { return time.Unix(0, 0).Add(s.clock.now) }

// leads says whether the process leads a term, as far as it knows.
func (l *leasing) leads(term uint64) bool {
	st := l.p.core.Status()
	return st.Role == node.Leader && st.Term == term
}

// check looks at the deadlines, again and again.
func (l *leasing) check() {
	p := l.p
	st := p.core.Status()
	switch {
	case st.Role != node.Leader:
		l.book = nil
	case l.book == nil || l.term != st.Term:
		l.load(st.Term)
	default:
		l.expire(st.Term)
		l.record(st.Term)
	}
	p.after(leaseCheckEvery, l.check)
}

func (l *leasing) load(term uint64) {
	if l.loading {
		return
	}
	l.loading = true
	l.p.confirm(func(ok bool) {
		l.loading = false
		if !ok || !l.leads(term) {
			return
		}
		now := l.p.s.clockTime()
		l.term = term
		l.book = lessor.NewBook(now, lessor.BookConfig{Grace: leaseGrace, RetryInterval: leaseRetry, CheckpointInterval: leaseRecordEvery})
		err := l.p.state.EachLease(func(lease statemachine.Lease) error {
			l.book.Load(now, lease)
			return nil
		})
		if err != nil {
			l.p.s.fail("member %d: read the leases: %v", l.p.host.id, err)
		}
		l.book.Loaded()
	})
}

// expire revokes what is over, once a quorum has confirmed that this member
// leads.
func (l *leasing) expire(term uint64) {
	if !l.book.AnyExpired(l.p.s.clockTime()) {
		return
	}
	revoke := func(ok bool) {
		if !ok || l.book == nil || l.term != term || !l.leads(term) {
			return
		}
		named := term
		if l.p.s.opts.Planted == LateRevocation {
			named = 0
		}
		for _, id := range l.book.Expired(l.p.s.clockTime(), revokesPerCheck) {
			l.p.propose(envelope.KindLeaseRevoke, envelope.LeaseRevoke{ID: id, Term: named}.Encode(), leaseRetry, func(r node.Result) {
				if errors.Is(r.Err, statemachine.ErrLeaseTerm) {
					l.p.s.report.RevocationsRefused++
				}
			})
		}
	}
	if l.p.s.opts.Planted == LateRevocation {
		revoke(true)
		return
	}
	l.p.confirm(revoke)
}

// record replicates what is left of leases.
func (l *leasing) record(term uint64) {
	due := l.book.Due(l.p.s.clockTime(), revokesPerCheck)
	if len(due) > 0 {
		l.p.propose(envelope.KindLeaseRemaining, envelope.LeaseRemaining{Term: term, Leases: due}.Encode(), leaseRetry, func(node.Result) {})
	}
}

// renew starts the time to live of a lease anew, if this member leads.
func (l *leasing) renew(id int64) {
	p := l.p
	st, begun := p.core.Status(), p.s.clock.now
	if l.book != nil && l.term == st.Term && l.leads(st.Term) {
		if ttl, ok := l.book.RenewNow(p.s.clockTime(), id); ok {
			p.s.leases.renewed(p.host, id, time.Duration(ttl)*time.Second)
			p.s.report.LeasesRenewedNow++
			return
		}
	}
	begunTime := p.s.clockTime()
	answer := func() (state lessor.State) {
		if l.book == nil || l.term != st.Term || !l.leads(st.Term) {
			return lessor.Unknown
		}
		l.book.Confirmed(begunTime)
		ttl, state := l.book.Renew(p.s.clockTime(), id)
		// Later the answer would not count: somebody else may lead.
		if state == lessor.Live && p.s.clock.now-begun < leaseGrace {
			p.s.leases.renewed(p.host, id, time.Duration(ttl)*time.Second)
		}
		return state
	}
	p.confirm(func(ok bool) {
		if !ok || answer() != lessor.Recorded {
			return
		}
		withdrawn := envelope.LeaseRemaining{Term: st.Term, Leases: []envelope.RemainingTTL{{ID: id}}}
		p.propose(envelope.KindLeaseRemaining, withdrawn.Encode(), leaseRetry, func(r node.Result) {
			if r.Err == nil {
				p.s.report.LeaseRecordsWithdrawn++
				answer()
			}
		})
	})
}

// leasesChanged follows Apply.
func (p *process) leasesChanged(changes []statemachine.LeaseChange) {
	for _, c := range changes {
		if l := p.leasing; l != nil && l.book != nil {
			l.book.Change(p.s.clockTime(), c)
		}
		p.s.leases.changed(p.host, c)
	}
}

// confirm asks a quorum whether this member may go on; ok: it has applied all
// that was committed when it asked.
func (p *process) confirm(done func(ok bool)) {
	round, _, err := p.core.Read()
	if err != nil {
		done(false)
		return
	}
	e := &errand{round: round, done: func(r node.Result) { done(r.Err == nil) }}
	p.errands = append(p.errands, e)
	p.after(leaseRetry, func() {
		if e.done != nil {
			e.finish(node.Result{Err: node.ErrNotApplied})
		}
	})
	p.loop(func() {})
}
