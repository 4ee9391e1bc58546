package lessor

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"raftkv/statemachine"
	"raftkv/statemachine/envelope"
)

// cluster is a member with its state: what it proposes is applied after a
// while, unless the term named is over.
type cluster struct {
	lessor *Lessor

	mu          sync.Mutex
	term        uint64
	leads       bool
	changed     chan struct{}
	leases      map[int64]statemachine.Lease
	revoked     map[int64]time.Time
	refused     int
	inFlight    int
	inFlightMax int
	confirm     time.Duration // how long Confirm takes
}

var errTerm = errors.New("decided in another term")

func newCluster(t *testing.T, ctx context.Context) *cluster {
	c := &cluster{changed: make(chan struct{}), leases: map[int64]statemachine.Lease{}, revoked: map[int64]time.Time{}, confirm: time.Millisecond}
	var err error
	if c.lessor, err = New(c, Config{ElectionTimeout: time.Second}); err != nil {
		t.Fatal(err)
	}
	go c.lessor.Run(ctx)
	return c
}

func (c *cluster) lead(term uint64, leads bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.term, c.leads = term, leads
	close(c.changed)
	c.changed = make(chan struct{})
}

func (c *cluster) grant(id, ttl int64) {
	l := statemachine.Lease{ID: id, TTLSeconds: ttl}
	c.mu.Lock()
	c.leases[id] = l
	c.mu.Unlock()
	c.lessor.Changed([]statemachine.LeaseChange{{Lease: l, Granted: true}})
}

func (c *cluster) Leads() (uint64, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.term, c.leads
}

func (c *cluster) AwaitLeadership(ctx context.Context) error {
	for {
		c.mu.Lock()
		leads, changed := c.leads, c.changed
		c.mu.Unlock()
		if leads {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func wait(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (c *cluster) Confirm(ctx context.Context) error {
	c.mu.Lock()
	d := c.confirm
	c.mu.Unlock()
	return wait(ctx, d)
}

func (c *cluster) EachLease(visit func(statemachine.Lease) error) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, l := range c.leases {
		if err := visit(l); err != nil {
			return err
		}
	}
	return nil
}

func (c *cluster) Revoke(ctx context.Context, id int64, term uint64) error {
	c.mu.Lock()
	c.inFlight++
	c.inFlightMax = max(c.inFlightMax, c.inFlight)
	c.mu.Unlock()
	err := wait(ctx, 5*time.Millisecond)
	c.mu.Lock()
	c.inFlight--
	if err == nil && term != c.term {
		c.refused++
		err = errTerm
	}
	if err == nil {
		delete(c.leases, id)
		c.revoked[id] = time.Now()
	}
	c.mu.Unlock()
	if err == nil {
		c.lessor.Changed([]statemachine.LeaseChange{{Lease: statemachine.Lease{ID: id}, Gone: true}})
	}
	return err
}

func (c *cluster) Record(ctx context.Context, r envelope.LeaseRemaining) error {
	if err := wait(ctx, 5*time.Millisecond); err != nil {
		return err
	}
	var changes []statemachine.LeaseChange
	c.mu.Lock()
	same := r.Term == c.term
	for _, one := range r.Leases {
		if l, ok := c.leases[one.ID]; ok && same {
			l.RemainingSeconds = one.Seconds
			c.leases[one.ID] = l
			changes = append(changes, statemachine.LeaseChange{Lease: l})
		}
	}
	c.mu.Unlock()
	if !same {
		return errTerm
	}
	c.lessor.Changed(changes)
	return nil
}

func (c *cluster) revokedAt(id int64) (time.Time, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	at, ok := c.revoked[id]
	return at, ok
}

func inBubble(t *testing.T, f func(ctx context.Context, c *cluster)) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		defer func() { cancel(); synctest.Wait() }()
		f(ctx, newCluster(t, ctx))
	})
}

// pass lets time go by.
func pass(d time.Duration) {
	time.Sleep(d) // of the bubble: virtual
	synctest.Wait()
}

// TestExpires: a lease is revoked soon after its time, not before, and later
// if it was renewed.
func TestExpires(t *testing.T) {
	inBubble(t, func(ctx context.Context, c *cluster) {
		c.lead(2, true)
		pass(time.Second)
		begun := time.Now()
		c.grant(1, 10)
		c.grant(2, 10)
		pass(6 * time.Second)
		if a, err := c.lessor.Renew(ctx, []int64{2, 3}); err != nil || a[0].State != Live || a[0].TTLSeconds != 10 || a[1].State != Unknown {
			t.Fatalf("%+v, %v", a, err)
		}
		pass(20 * time.Second)
		for id, due := range map[int64]time.Duration{1: 10 * time.Second, 2: 16 * time.Second} {
			at, ok := c.revokedAt(id)
			if took := at.Sub(begun); !ok || took < due || took > due+time.Second {
				t.Errorf("lease %d: revoked (%t) after %v, want %v", id, ok, took, due)
			}
		}
	})
}

// TestPausedLeader: a leader that was paused while another one led, and renewed,
// revokes nothing, and does not answer.
func TestPausedLeader(t *testing.T) {
	inBubble(t, func(ctx context.Context, c *cluster) {
		c.lead(2, true)
		pass(time.Second)
		c.grant(1, 5)
		pass(time.Second)
		// The pause: it believes to lead, and cannot confirm it.
		c.mu.Lock()
		c.confirm = time.Minute
		c.mu.Unlock()
		pass(8 * time.Second)
		if _, ok := c.revokedAt(1); ok {
			t.Fatal("revoked without confirming the leadership")
		}
		c.lead(3, false) // it was another one all the time
		pass(2 * time.Minute)
		if _, ok := c.revokedAt(1); ok {
			t.Fatal("revoked what another leader looks after")
		}
		if _, err := c.lessor.Renew(ctx, []int64{1}); !errors.Is(err, ErrNotLeader) {
			t.Fatalf("renewed: %v", err)
		}
		if err := c.Revoke(ctx, 1, 2); !errors.Is(err, errTerm) {
			t.Fatalf("the fake applies what another term decided: %v", err)
		}
	})
}

// TestNewLeader gives every lease its time and an election timeout; of a long
// one what was recorded.
func TestNewLeader(t *testing.T) {
	inBubble(t, func(ctx context.Context, c *cluster) {
		c.lead(2, true)
		pass(time.Second)
		c.grant(1, 20)
		c.grant(2, 3600)
		pass(10*time.Minute + time.Second)
		c.grant(3, 20)
		pass(10 * time.Second)
		c.lead(3, false)
		pass(time.Second)
		c.lead(4, true)
		pass(time.Second)
		a, err := c.lessor.Left(ctx, []int64{1, 2, 3})
		if err != nil || a[0].State != Unknown {
			t.Fatalf("%+v, %v", a, err)
		}
		if left := a[1].Left.Seconds(); left < 2995 || left > 3010 {
			t.Errorf("%v s are left of a long lease after ten minutes", left)
		}
		if left := a[2].Left.Seconds(); left < 19.5 || left > 21 {
			t.Errorf("%v s are left of a short lease after a change of the leader", left)
		}
		if a, err := c.lessor.Renew(ctx, []int64{2}); err != nil || a[0].State != Live || a[0].TTLSeconds != 3600 {
			t.Fatalf("%+v, %v", a, err)
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		if r := c.leases[2].RemainingSeconds; r != 0 {
			t.Errorf("renewed, and %d s still recorded as remaining", r)
		}
	})
}

// TestPaced: thousands of leases that end at once are revoked a bounded number
// at a time and a second.
func TestPaced(t *testing.T) {
	inBubble(t, func(_ context.Context, c *cluster) {
		c.lead(2, true)
		pass(time.Second)
		for id := range int64(3000) {
			c.grant(id, 5)
		}
		pass(6500 * time.Millisecond)
		c.mu.Lock()
		defer c.mu.Unlock()
		if n := len(c.revoked); n < 500 || n > 2000 {
			t.Errorf("%d revoked in a second and a half", n)
		}
		if c.inFlightMax > 16 || c.inFlightMax < 8 {
			t.Errorf("up to %d in flight", c.inFlightMax)
		}
	})
}

// TestRenewNow: one confirmation of the leadership serves the renewals of half
// an election timeout; what it cannot answer waits for another one.
func TestRenewNow(t *testing.T) {
	inBubble(t, func(ctx context.Context, c *cluster) {
		ttls := make([]int64, 2)
		if c.lessor.RenewNow([]int64{1}, ttls) {
			t.Fatal("renewed by a member that does not lead")
		}
		c.lead(2, true)
		pass(time.Second)
		c.grant(1, 10)
		c.grant(2, 20)
		if c.lessor.RenewNow([]int64{1}, ttls) {
			t.Fatal("renewed though no quorum was asked since the leases were read")
		}
		if _, err := c.lessor.Renew(ctx, []int64{1}); err != nil {
			t.Fatal(err)
		}
		// Confirm took a millisecond.
		pass(498 * time.Millisecond)
		if !c.lessor.RenewNow([]int64{2, 1}, ttls) || ttls[0] != 20 || ttls[1] != 10 {
			t.Fatalf("not renewed: %d", ttls)
		}
		if c.lessor.RenewNow([]int64{1, 3}, ttls) {
			t.Fatal("an unknown lease was answered without asking a quorum")
		}
		pass(time.Millisecond)
		if c.lessor.RenewNow([]int64{1}, ttls) {
			t.Fatal("a confirmation held too long")
		}
		pass(9 * time.Second)
		if _, ok := c.revokedAt(1); ok {
			t.Fatal("revoked before the time that was answered")
		}
		pass(2 * time.Second)
		if _, ok := c.revokedAt(1); !ok {
			t.Fatal("not revoked after its time")
		}

		// Another term begins with nothing confirmed.
		if _, err := c.lessor.Renew(ctx, []int64{2}); err != nil {
			t.Fatal(err)
		}
		c.lead(3, false)
		if c.lessor.RenewNow([]int64{2}, ttls) {
			t.Fatal("renewed by a member that stopped leading")
		}
		c.lead(4, true)
		if c.lessor.RenewNow([]int64{2}, ttls) {
			t.Fatal("renewed by what an earlier term confirmed")
		}
	})
}
