package sessions_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"raftkv/server/sessions"
	"raftkv/statemachine"
	"raftkv/statemachine/envelope"
)

// member leads when the test says so.
type member struct {
	mu         sync.Mutex
	term       uint64
	leads      bool
	changed    chan struct{}
	confirmErr error
	sessions   map[uint64]uint64 // by id: last use
	closed     []string
}

func (m *member) Leads() (uint64, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.term, m.leads
}

func (m *member) AwaitLeadership(ctx context.Context) error {
	for {
		m.mu.Lock()
		leads, changed := m.leads, m.changed
		m.mu.Unlock()
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

func (m *member) lead(term uint64, leads bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.term, m.leads = term, leads
	close(m.changed)
	m.changed = make(chan struct{})
}

func (m *member) Confirm(context.Context) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.confirmErr
}

func (m *member) EachSession(visit func(statemachine.SessionUse) error) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	for id, used := range m.sessions {
		if err := visit(statemachine.SessionUse{ID: id, Used: used}); err != nil {
			return err
		}
	}
	return nil
}

func (m *member) Expire(_ context.Context, c envelope.SessionClose) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.sessions[c.Session] != c.Used {
		return statemachine.ErrSessionUsed
	}
	delete(m.sessions, c.Session)
	m.closed = append(m.closed, fmt.Sprintf("%d in %d", c.Session, c.Term))
	return nil
}

func (m *member) use(id, place uint64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.sessions[id] = place
}

func (m *member) taken() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	out := m.closed
	m.closed = nil
	slices.Sort(out)
	return out
}

func TestKeeper(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const ttl = 10 * time.Minute
		m := &member{changed: make(chan struct{}), sessions: map[uint64]uint64{1: 1, 2: 2}}
		k, err := sessions.New(m, sessions.Config{TTL: ttl})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		var run sync.WaitGroup
		run.Go(func() { k.Run(ctx) })
		expect := func(after time.Duration, want ...string) {
			t.Helper()
			time.Sleep(after)
			synctest.Wait()
			if got := m.taken(); !slices.Equal(got, want) {
				t.Errorf("closed %q, want %q", got, want)
			}
		}
		expect(2 * ttl) // a follower decides nothing
		m.lead(5, true)
		expect(ttl / 2)
		m.use(2, 7)
		expect(ttl*3/4, "1 in 5")
		m.use(2, 8) // in the nick of time
		expect(ttl / 2)
		// A new term begins anew.
		m.lead(6, true)
		expect(ttl * 3 / 4)
		expect(ttl/2, "2 in 6")
		m.use(3, 9)
		m.mu.Lock()
		m.confirmErr = errors.New("cut off")
		m.mu.Unlock()
		expect(2 * ttl) // nobody confirms it
		m.mu.Lock()
		m.confirmErr = nil
		m.mu.Unlock()
		expect(ttl/10, "3 in 6")
		m.lead(6, false)
		m.use(4, 10)
		expect(2 * ttl)
		m.lead(7, true) // it ends while the member leads, too
		expect(ttl / 2)
		cancel()
		run.Wait()
	})
}

func TestConfig(t *testing.T) {
	if _, err := sessions.New(&member{}, sessions.Config{TTL: -1}); err == nil {
		t.Error("a negative TTL was taken")
	}
	c := sessions.Config{TTL: time.Second}
	if c.EnsureDefaults(); c.CheckInterval != 100*time.Millisecond {
		t.Errorf("looks every %v", c.CheckInterval)
	}
}
