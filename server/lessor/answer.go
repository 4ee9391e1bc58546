package lessor

import (
	"cmp"
	"context"
	"slices"
	"time"

	"raftkv/statemachine/envelope"
)

// Answer is what the leader knows of a lease.
type Answer struct {
	State State // Unknown, Live or Expiring
	// TTLSeconds is the time to live that was granted, Left what is left of it.
	TTLSeconds int64
	Left       time.Duration
}

// RenewNow starts the time to live of leases anew and returns it for each in
// ttlsSeconds, which is as long as ids. It waits for nobody; false: Renew has to
// be called, for all of them.
func (l *Lessor) RenewNow(ids, ttlsSeconds []int64) bool {
	term, leads := l.member.Leads()
	if !leads {
		return false
	}
	now := l.cfg.Clock.Now()
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.mu.book == nil || l.mu.term != term {
		return false
	}
	for i, id := range ids {
		ttl, ok := l.mu.book.RenewNow(now, id)
		if !ok {
			return false
		}
		ttlsSeconds[i] = ttl
	}
	l.counters.renewed.Add(uint64(len(ids)))
	return true
}

// Renew starts the time to live of leases anew. It answers ErrNotLeader where
// somebody else may lead. A lease that is Expiring is to be asked for again.
func (l *Lessor) Renew(ctx context.Context, ids []int64) ([]Answer, error) {
	return l.led(ctx, func(book *Book, term uint64) ([]Answer, error) {
		answers, withdraw := l.renew(book, ids, make([]Answer, len(ids)), nil)
		if len(withdraw) == 0 {
			return answers, nil
		}
		recorded := envelope.LeaseRemaining{Term: term}
		for _, i := range withdraw {
			recorded.Leases = append(recorded.Leases, envelope.RemainingTTL{ID: ids[i]})
		}
		if err := l.member.Record(ctx, recorded); err != nil {
			return nil, err
		}
		answers, withdraw = l.renew(book, ids, answers, withdraw)
		for _, i := range withdraw {
			// Recorded again meanwhile, or Apply is not known to have come so far.
			answers[i] = Answer{State: Expiring}
		}
		return answers, nil
	})
}

// renew renews the leases at the places only, nil for all of ids, and returns
// the places of those whose record has to be withdrawn first.
func (l *Lessor) renew(book *Book, ids []int64, answers []Answer, only []int) (_ []Answer, withdraw []int) {
	now := l.cfg.Clock.Now()
	l.mu.Lock()
	defer l.mu.Unlock()
	one := func(i int) {
		ttl, state := book.Renew(now, ids[i])
		answers[i] = Answer{State: state, TTLSeconds: ttl, Left: 0}
		switch state {
		case Live:
			l.counters.renewed.Add(1)
		case Recorded:
			withdraw = append(withdraw, i)
		}
	}
	if only == nil {
		for i := range ids {
			one(i)
		}
	}
	for _, i := range only {
		one(i)
	}
	return answers, withdraw
}

// Left tells what is left of leases.
func (l *Lessor) Left(ctx context.Context, ids []int64) ([]Answer, error) {
	return l.led(ctx, func(book *Book, _ uint64) ([]Answer, error) {
		now := l.cfg.Clock.Now()
		answers := make([]Answer, len(ids))
		l.mu.Lock()
		defer l.mu.Unlock()
		for i, id := range ids {
			answers[i].Left, answers[i].TTLSeconds, answers[i].State = book.Left(now, id)
		}
		return answers, nil
	})
}

// Order sorts ids by what is left of their leases, if this member leads.
func (l *Lessor) Order(ids []int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if book := l.mu.book; book != nil {
		slices.SortStableFunc(ids, func(a, b int64) int {
			return cmp.Compare(book.leases[a].deadlineMS, book.leases[b].deadlineMS)
		})
	}
}

// led answers by ask under a leadership that was confirmed after the question
// came, and less than an election timeout before the answer (invariant 3): a
// later leader has given every lease more than that on top.
func (l *Lessor) led(ctx context.Context, ask func(*Book, uint64) ([]Answer, error)) ([]Answer, error) {
	for {
		term, leads := l.member.Leads()
		if !leads {
			return nil, ErrNotLeader
		}
		begun := l.cfg.Clock.Now()
		if err := l.member.Confirm(ctx); err != nil {
			return nil, err
		}
		book, err := l.await(ctx, term)
		if err != nil {
			return nil, err
		}
		if !l.leads(term) {
			return nil, ErrNotLeader
		}
		l.mu.Lock()
		book.Confirmed(begun)
		l.mu.Unlock()
		answers, err := ask(book, term)
		if err != nil {
			return nil, err
		}
		if l.elapsed(begun) < l.cfg.ElectionTimeout {
			return answers, nil
		}
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
	}
}
