package compactor

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"go.uber.org/zap"

	"raftkv/statemachine"
)

// ErrStopped is returned to those who wait for a sweep when the member stops.
var ErrStopped = errors.New("compactor: stopped")

// State is what a Sweeper sweeps.
type State interface {
	// SweepStep looks at up to limit changes; see statemachine.Machine.
	SweepStep(limit int) (more bool, complete *statemachine.SweepReport, err error)
	// Swept is the compacted revision up to which everything was removed.
	Swept() int64
	// LiveBytes is the size of what is left.
	LiveBytes() int64
}

// SweeperConfig sets up a Sweeper.
type SweeperConfig struct {
	// BatchLimit is how many changes a step looks at, 0: 500. SleepInterval is
	// the pause after a step; 0: seven times as long as the step took, so that a
	// sweep has an eighth of a core.
	BatchLimit    int
	SleepInterval time.Duration
	Logger        *zap.Logger
	// OnFatal is told that sweeping is impossible.
	OnFatal func(error)
}

const (
	// A pause that nobody has set is pauseShare times as long as the step before,
	// and pauseMax at most.
	pauseShare = 7
	pauseMax   = 50 * time.Millisecond
)

// EnsureDefaults fills what is zero.
func (c *SweeperConfig) EnsureDefaults() {
	if c.BatchLimit == 0 {
		c.BatchLimit = 500
	}
	if c.Logger == nil {
		c.Logger = zap.NewNop()
	}
}

// Validate reports every faulty value.
func (c *SweeperConfig) Validate() error {
	var faults []error
	if c.BatchLimit < 1 {
		faults = append(faults, fmt.Errorf("compactor: BatchLimit %d must be positive", c.BatchLimit))
	}
	if c.SleepInterval < 0 {
		faults = append(faults, fmt.Errorf("compactor: SleepInterval %v is negative", c.SleepInterval))
	}
	if c.OnFatal == nil {
		faults = append(faults, errors.New("compactor: OnFatal is not set"))
	}
	return errors.Join(faults...)
}

// Sweeper sweeps whenever there is something to sweep.
type Sweeper struct {
	cfg  SweeperConfig
	wake chan struct{} // holds one: something changed since Run looked

	mu struct {
		sync.Mutex
		state State // nil before Run
		// progress is closed, and replaced, when a sweep is complete.
		progress chan struct{}
		ended    bool // Run has returned
	}
}

// NewSweeper returns a Sweeper; Run runs it.
func NewSweeper(cfg SweeperConfig) (*Sweeper, error) {
	cfg.EnsureDefaults()
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	s := &Sweeper{cfg: cfg, wake: make(chan struct{}, 1)}
	s.mu.progress = make(chan struct{})
	return s, nil
}

// Wake says that there may be something to sweep. It never blocks.
func (s *Sweeper) Wake() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// Run sweeps state until ctx ends or sweeping fails. It is called once.
func (s *Sweeper) Run(ctx context.Context, state State) {
	s.mu.Lock()
	s.mu.state = state
	s.mu.Unlock()
	defer s.tell(true)
	timer := time.NewTimer(0)
	defer timer.Stop()
	var began time.Time // of the sweep under way; zero: none
	for {
		select {
		case <-timer.C:
		case <-s.wake:
		case <-ctx.Done():
			return
		}
		if began.IsZero() {
			began = time.Now()
		}
		stepBegan := time.Now()
		more, complete, err := state.SweepStep(s.cfg.BatchLimit)
		switch {
		case errors.Is(err, statemachine.ErrClosed):
			return
		case err != nil:
			s.cfg.OnFatal(fmt.Errorf("sweep: %w", err))
			return
		case complete != nil:
			s.log(state, complete, time.Since(began))
		}
		if complete != nil || !more {
			began = time.Time{}
			s.tell(false)
		}
		if more { // else until somebody wakes it
			timer.Reset(s.pause(time.Since(stepBegan)))
		}
	}
}

// pause is how long to rest after a step that took so long.
func (s *Sweeper) pause(step time.Duration) time.Duration {
	if s.cfg.SleepInterval > 0 {
		return s.cfg.SleepInterval
	}
	return min(pauseShare*step, pauseMax)
}

func (s *Sweeper) log(state State, r *statemachine.SweepReport, took time.Duration) {
	fields := []zap.Field{
		zap.Int64("compact-revision", r.Revision), zap.Duration("took", took),
		zap.Int("number-of-keys-compacted", r.Versions), zap.Int64("removed-bytes", r.Bytes),
		zap.Int64("current-db-size-in-use-bytes", state.LiveBytes()),
	}
	if r.HashKnown {
		fields = append(fields, zap.Uint32("hash", r.Hash))
	}
	s.cfg.Logger.Info("finished scheduled compaction", fields...)
}

// tell makes those who wait look again.
func (s *Sweeper) tell(ended bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	close(s.mu.progress)
	s.mu.progress = make(chan struct{})
	s.mu.ended = s.mu.ended || ended
}

// Await returns once everything that compactions up to revision made unreadable
// was removed.
func (s *Sweeper) Await(ctx context.Context, revision int64) error {
	for {
		s.mu.Lock()
		state, progress, ended := s.mu.state, s.mu.progress, s.mu.ended
		s.mu.Unlock()
		// After the channel was taken, so that no sweep is missed.
		if state != nil && state.Swept() >= revision {
			return nil
		}
		if ended {
			return ErrStopped
		}
		select {
		case <-progress:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
