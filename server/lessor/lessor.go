package lessor

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"raftkv/statemachine"
	"raftkv/statemachine/envelope"
)

// Lessor looks after the leases while this member leads.
type Lessor struct {
	cfg      Config
	member   Member
	counters counters

	mu struct {
		sync.Mutex
		// term is the one of book; nil: this member does not lead, as far as Run
		// knows.
		term uint64
		book *Book
		// ready is closed when book is loaded or given up; a new one per term.
		ready chan struct{}
		ended bool // Run has returned
	}
}

type counters struct {
	granted, revoked, renewed, expired, recorded atomic.Uint64
	grantedTTLs                                  ttlHistogram
}

// New returns a Lessor; Run runs it.
func New(member Member, cfg Config) (*Lessor, error) {
	cfg.EnsureDefaults()
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	l := &Lessor{cfg: cfg, member: member}
	l.mu.ready = make(chan struct{})
	return l, nil
}

// Changed follows what Apply did to leases; it may be called before Run.
func (l *Lessor) Changed(changes []statemachine.LeaseChange) {
	now := l.cfg.Clock.Now()
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, c := range changes {
		switch {
		case c.Gone:
			l.counters.revoked.Add(1)
		case c.Granted:
			l.counters.granted.Add(1)
			l.counters.grantedTTLs.observe(c.TTLSeconds)
		}
		if l.mu.book != nil {
			l.mu.book.Change(now, c)
		}
	}
}

// Run looks after the leases whenever this member leads, until ctx ends. It is
// called once.
func (l *Lessor) Run(ctx context.Context) {
	defer l.forget(true)
	for l.member.AwaitLeadership(ctx) == nil && ctx.Err() == nil {
		term, leads := l.member.Leads()
		if !leads {
			continue
		}
		l.lead(ctx, term)
		l.forget(false)
	}
}

// forget drops what only a leader knows (invariant 6).
func (l *Lessor) forget(ended bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.mu.book != nil || ended {
		l.mu.book = nil
		close(l.mu.ready)
		l.mu.ready = make(chan struct{})
		l.mu.ended = ended
	}
}

// leads tells whether this member still leads a term.
func (l *Lessor) leads(term uint64) bool {
	now, leads := l.member.Leads()
	return leads && now == term
}

// lead looks after the leases for a term.
func (l *Lessor) lead(ctx context.Context, term uint64) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	ticks, stop := l.cfg.Clock.Tick(l.cfg.CheckInterval)
	defer stop()
	for !l.load(ctx, term) {
		select {
		case <-ticks:
		case <-ctx.Done():
			return
		}
		if !l.leads(term) {
			return
		}
	}
	work := make(chan int64, l.cfg.revokesPerCheck())
	var workers sync.WaitGroup
	defer workers.Wait()
	defer close(work)
	defer cancel()
	for range l.cfg.RevokesInFlight {
		workers.Go(func() { l.revokeAll(ctx, term, work) })
	}
	for l.leads(term) {
		l.revokeExpired(ctx, term, work)
		l.record(ctx, term)
		select {
		case <-ticks:
		case <-ctx.Done():
			return
		}
	}
}

// loadChunk is how many leases are loaded under one hold of the lock, which the
// applier waits for.
const loadChunk = 1024

// load reads all leases; false: it is to be tried again. Confirm makes sure
// that everything of earlier terms has been applied.
func (l *Lessor) load(ctx context.Context, term uint64) bool {
	if err := l.confirm(ctx); err != nil || !l.leads(term) {
		return false
	}
	begun := l.cfg.Clock.Now()
	l.forget(false)
	book := NewBook(begun, BookConfig{Grace: l.cfg.ElectionTimeout, RetryInterval: l.cfg.RetryInterval, CheckpointInterval: l.cfg.CheckpointInterval})
	l.mu.Lock()
	l.mu.term, l.mu.book = term, book
	l.mu.Unlock()
	chunk := make([]statemachine.Lease, 0, loadChunk)
	flush := func() {
		// Not a moment from before: reading may take a while.
		now := l.cfg.Clock.Now()
		l.mu.Lock()
		defer l.mu.Unlock()
		for _, lease := range chunk {
			book.Load(now, lease)
		}
		chunk = chunk[:0]
	}
	err := l.member.EachLease(func(lease statemachine.Lease) error {
		if chunk = append(chunk, lease); len(chunk) == loadChunk {
			flush()
		}
		return ctx.Err()
	})
	if err != nil {
		if ctx.Err() == nil {
			l.cfg.Logger.Warn("reading the leases failed; trying again", zap.Error(err))
		}
		return false
	}
	flush()
	l.mu.Lock()
	defer l.mu.Unlock()
	book.Loaded()
	close(l.mu.ready)
	l.mu.ready = make(chan struct{})
	l.cfg.Logger.Info("looking after leases", zap.Uint64("term", term), zap.Int("leases", book.Len()), zap.Duration("took", l.cfg.Clock.Now().Sub(begun)))
	return true
}

func (l *Lessor) confirm(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, l.cfg.RequestTimeout)
	defer cancel()
	return l.member.Confirm(ctx)
}

// revokeExpired hands what is over to the workers, as far as they have room.
func (l *Lessor) revokeExpired(ctx context.Context, term uint64, work chan<- int64) {
	now := l.cfg.Clock.Now()
	l.mu.Lock()
	room := cap(work) - len(work)
	any := room > 0 && l.mu.book.AnyExpired(now)
	l.mu.Unlock()
	// A leader that was paused finds out here that it leads no more.
	if !any || l.confirm(ctx) != nil || !l.leads(term) {
		return
	}
	l.mu.Lock()
	ids := l.mu.book.Expired(now, room)
	l.mu.Unlock()
	for _, id := range ids {
		work <- id // there is room: nobody else sends
	}
}

func (l *Lessor) revokeAll(ctx context.Context, term uint64, work <-chan int64) {
	for id := range work {
		if ctx.Err() != nil || !l.leads(term) {
			continue
		}
		revoking, cancel := context.WithTimeout(ctx, l.cfg.RequestTimeout)
		err := l.member.Revoke(revoking, id, term)
		cancel()
		if err == nil {
			l.counters.expired.Add(1)
		} else if ctx.Err() == nil {
			l.cfg.Logger.Debug("revoking an expired lease failed", zap.Int64("lease", id), zap.Error(err))
		}
	}
}

// A record holds recordsMax leases, and one look at the deadlines makes
// recordsPerCheck of them.
const (
	recordsMax      = 1000
	recordsPerCheck = 8
)

// record replicates what is left of long leases, so that the next leader does
// not start them anew.
func (l *Lessor) record(ctx context.Context, term uint64) {
	for range recordsPerCheck {
		l.mu.Lock()
		due := l.mu.book.Due(l.cfg.Clock.Now(), recordsMax)
		l.mu.Unlock()
		if len(due) == 0 {
			return
		}
		recording, cancel := context.WithTimeout(ctx, l.cfg.RequestTimeout)
		err := l.member.Record(recording, envelope.LeaseRemaining{Term: term, Leases: due})
		cancel()
		if err != nil {
			if ctx.Err() == nil {
				l.cfg.Logger.Debug("recording what is left of leases failed", zap.Int("leases", len(due)), zap.Error(err))
			}
			return
		}
		l.counters.recorded.Add(uint64(len(due)))
		if len(due) < recordsMax {
			return
		}
	}
}

// await returns the book of a term once it is loaded.
func (l *Lessor) await(ctx context.Context, term uint64) (*Book, error) {
	for {
		l.mu.Lock()
		book, ready, ended := l.mu.book, l.mu.ready, l.mu.ended
		fits := book != nil && l.mu.term == term && book.gone == nil
		l.mu.Unlock()
		switch {
		case fits:
			return book, nil
		case ended:
			return nil, ErrStopped
		case !l.leads(term):
			return nil, ErrNotLeader
		}
		poll, stop := l.cfg.Clock.Tick(l.cfg.CheckInterval)
		select {
		case <-ready:
		case <-poll: // the term may be over before there is a book
		case <-ctx.Done():
			stop()
			return nil, context.Cause(ctx)
		}
		stop()
	}
}

// elapsed is the time since begun.
func (l *Lessor) elapsed(begun time.Time) time.Duration { return l.cfg.Clock.Now().Sub(begun) }
