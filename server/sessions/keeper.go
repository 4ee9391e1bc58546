package sessions

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"raftkv/statemachine"
	"raftkv/statemachine/envelope"
)

// Member is the member as its Keeper sees it.
type Member interface {
	// Leads returns the raft term and whether this member leads it.
	Leads() (term uint64, leads bool)
	// AwaitLeadership returns once this member leads, or ctx ends.
	AwaitLeadership(ctx context.Context) error
	// Confirm returns once a quorum has confirmed that somebody leads; see
	// package lessor.
	Confirm(ctx context.Context) error
	// EachSession calls visit with all sessions.
	EachSession(visit func(statemachine.SessionUse) error) error
	// Expire replicates that a session expired.
	Expire(ctx context.Context, c envelope.SessionClose) error
}

// Config sets up a Keeper.
type Config struct {
	// TTL is how long a session lives that is not used. No default.
	TTL time.Duration
	// RequestTimeout bounds a proposal. Default 7 s.
	RequestTimeout time.Duration
	// CheckInterval is the time between two looks at all sessions. Default: a
	// twentieth of TTL, between 100 ms and 30 s.
	CheckInterval time.Duration
	Logger        *zap.Logger
}

// EnsureDefaults fills what is zero.
func (c *Config) EnsureDefaults() {
	if c.RequestTimeout == 0 {
		c.RequestTimeout = 7 * time.Second
	}
	if c.CheckInterval == 0 {
		c.CheckInterval = min(max(c.TTL/20, 100*time.Millisecond), 30*time.Second)
	}
	if c.Logger == nil {
		c.Logger = zap.NewNop()
	}
}

// Validate reports every faulty value.
func (c *Config) Validate() error {
	var faults []error
	for _, d := range []struct {
		name  string
		value time.Duration
	}{{"TTL", c.TTL}, {"RequestTimeout", c.RequestTimeout}, {"CheckInterval", c.CheckInterval}} {
		if d.value <= 0 {
			faults = append(faults, fmt.Errorf("sessions: %s %v must be positive", d.name, d.value))
		}
	}
	return errors.Join(faults...)
}

// expiriesMax bounds the sessions that one look closes, so that they do not keep
// clients waiting; the next look goes on.
const expiriesMax = 256

// Keeper ends sessions while its member leads.
type Keeper struct {
	member Member
	cfg    Config

	live    atomic.Int64
	expired atomic.Uint64
}

// New builds a Keeper; Run runs it.
func New(m Member, cfg Config) (*Keeper, error) {
	cfg.EnsureDefaults()
	return &Keeper{member: m, cfg: cfg}, cfg.Validate()
}

// Run looks after sessions whenever the member leads, until ctx ends.
func (k *Keeper) Run(ctx context.Context) {
	for k.member.AwaitLeadership(ctx) == nil && ctx.Err() == nil {
		if term, leads := k.member.Leads(); leads {
			k.lead(ctx, term)
		}
	}
}

// seen is what a leader knows of a session: when it saw it at that use first.
type seen struct {
	used  uint64
	since time.Time
}

// lead looks after sessions for as long as the member leads term.
func (k *Keeper) lead(ctx context.Context, term uint64) {
	defer k.live.Store(0)
	book := make(map[uint64]seen)
	ticker := time.NewTicker(k.cfg.CheckInterval)
	defer ticker.Stop()
	for {
		if err := k.check(ctx, term, &book); err != nil && ctx.Err() == nil {
			k.cfg.Logger.Debug("closing sessions that expired failed; trying again", zap.Error(err))
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		if now, leads := k.member.Leads(); !leads || now != term {
			return
		}
	}
}

// check notes how all sessions are, and closes those that expired.
func (k *Keeper) check(ctx context.Context, term uint64, book *map[uint64]seen) error {
	now := time.Now()
	next := make(map[uint64]seen, len(*book))
	var due []envelope.SessionClose
	err := k.member.EachSession(func(s statemachine.SessionUse) error {
		known, ok := (*book)[s.ID]
		if !ok || known.used != s.Used {
			known = seen{s.Used, now}
		}
		next[s.ID] = known
		if now.Sub(known.since) >= k.cfg.TTL && len(due) < expiriesMax {
			due = append(due, envelope.SessionClose{Session: s.ID, Used: s.Used, Term: term})
		}
		return nil
	})
	if err != nil {
		return err
	}
	*book = next
	k.live.Store(int64(len(next)))
	if len(due) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, k.cfg.RequestTimeout)
	defer cancel()
	if err := k.member.Confirm(ctx); err != nil {
		return err
	}
	for _, c := range due {
		if err := k.member.Expire(ctx, c); err != nil {
			if errors.Is(err, statemachine.ErrSessionUsed) {
				continue // it lives
			}
			return err
		}
		k.expired.Add(1)
	}
	return nil
}

func liveDesc() *prometheus.Desc {
	return prometheus.NewDesc("raftkv_sessions", "Sessions of the native API, as the leader knows them; 0 elsewhere.", nil, nil)
}

func expiredDesc() *prometheus.Desc {
	return prometheus.NewDesc("raftkv_sessions_expired_total", "Sessions of the native API that this member ended because nobody used them.", nil, nil)
}

// Describe implements prometheus.Collector.
func (k *Keeper) Describe(ch chan<- *prometheus.Desc) {
	ch <- liveDesc()
	ch <- expiredDesc()
}

// Collect implements prometheus.Collector.
func (k *Keeper) Collect(ch chan<- prometheus.Metric) {
	ch <- prometheus.MustNewConstMetric(liveDesc(), prometheus.GaugeValue, float64(k.live.Load()))
	ch <- prometheus.MustNewConstMetric(expiredDesc(), prometheus.CounterValue, float64(k.expired.Load()))
}
