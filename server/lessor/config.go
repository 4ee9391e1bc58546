package lessor

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.uber.org/zap"

	"raftkv/statemachine"
	"raftkv/statemachine/envelope"
)

// Errors of questions to a Lessor.
var (
	// ErrNotLeader: this member does not lead, or stopped to.
	ErrNotLeader = errors.New("lessor: this member does not lead")
	// ErrStopped: the Lessor has ended.
	ErrStopped = errors.New("lessor: stopped")
)

// Member is the member as its Lessor sees it. Calls may run at once.
type Member interface {
	// Leads returns the raft term and whether this member leads it.
	Leads() (term uint64, leads bool)
	// AwaitLeadership returns once this member leads, or ctx ends.
	AwaitLeadership(ctx context.Context) error
	// Confirm returns once a quorum has confirmed that somebody leads who had
	// not been followed by another when Confirm was called, and this member
	// has applied all that was committed by then. If it leads the same term
	// before and after, that was itself.
	Confirm(ctx context.Context) error
	// EachLease calls visit with all leases.
	EachLease(visit func(statemachine.Lease) error) error
	// Revoke replicates that a lease expired, Record what is left of leases; both
	// have no effect in another term than the one named.
	Revoke(ctx context.Context, id int64, term uint64) error
	Record(ctx context.Context, r envelope.LeaseRemaining) error
}

// Clock tells the time.
type Clock interface {
	Now() time.Time
	// Tick returns a channel that is sent to at every interval, and what ends it.
	Tick(interval time.Duration) (ticks <-chan time.Time, stop func())
}

// SystemClock is the real one.
type SystemClock struct{}

// Now implements Clock.
func (SystemClock) Now() time.Time { return time.Now() }

// Tick implements Clock.
func (SystemClock) Tick(interval time.Duration) (<-chan time.Time, func()) {
	t := time.NewTicker(interval)
	return t.C, t.Stop
}

// Config sets up a Lessor.
type Config struct {
	// ElectionTimeout is how long a leader that lost its followers may believe
	// to lead, and what a new one gives every lease on top. No default.
	ElectionTimeout time.Duration
	// RequestTimeout bounds a proposal; RetryInterval is when one is made again
	// that came to nothing. Defaults: 7 s, as long as RequestTimeout.
	RequestTimeout, RetryInterval time.Duration
	// CheckInterval is how often deadlines are looked at. Default 500 ms.
	CheckInterval time.Duration
	// CheckpointInterval is how often what is left of longer leases is recorded.
	// Default 5 min.
	CheckpointInterval time.Duration
	// RevokesPerSecond paces revocations, of which RevokesInFlight are under way
	// at a time. Defaults 1000, 16.
	RevokesPerSecond, RevokesInFlight int
	Clock                             Clock
	Logger                            *zap.Logger
}

// EnsureDefaults fills what is zero.
func (c *Config) EnsureDefaults() {
	setDefault(&c.RequestTimeout, 7*time.Second)
	setDefault(&c.RetryInterval, c.RequestTimeout)
	setDefault(&c.CheckInterval, 500*time.Millisecond)
	setDefault(&c.CheckpointInterval, 5*time.Minute)
	setDefault(&c.RevokesPerSecond, 1000)
	setDefault(&c.RevokesInFlight, 16)
	if c.Clock == nil {
		c.Clock = SystemClock{}
	}
	if c.Logger == nil {
		c.Logger = zap.NewNop()
	}
}

func setDefault[T comparable](v *T, def T) {
	var zero T
	if *v == zero {
		*v = def
	}
}

// Validate reports every faulty value.
func (c *Config) Validate() error {
	var faults []error
	for _, d := range []struct {
		name  string
		value time.Duration
	}{
		{"ElectionTimeout", c.ElectionTimeout}, {"RequestTimeout", c.RequestTimeout}, {"RetryInterval", c.RetryInterval},
		{"CheckInterval", c.CheckInterval}, {"CheckpointInterval", c.CheckpointInterval},
	} {
		if d.value <= 0 {
			faults = append(faults, fmt.Errorf("lessor: %s %v must be positive", d.name, d.value))
		}
	}
	if c.RevokesPerSecond < 1 || c.RevokesInFlight < 1 {
		faults = append(faults, fmt.Errorf("lessor: %d revocations a second, %d in flight: both must be positive", c.RevokesPerSecond, c.RevokesInFlight))
	}
	return errors.Join(faults...)
}

// revokesPerCheck is how many revocations one look at the deadlines may start.
func (c *Config) revokesPerCheck() int {
	return max(1, int(int64(c.RevokesPerSecond)*c.CheckInterval.Milliseconds()/1000))
}
