package compactor

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.uber.org/zap"

	"raftkv/statemachine"
)

// Policy says how much history is kept. At most one of its fields is set; with
// none nothing is compacted by itself.
type Policy struct {
	// Period keeps everything that was current during that time.
	Period time.Duration
	// Revisions keeps that many revisions.
	Revisions int64
}

const (
	// A period is sampled ten times, one above an hour ten times an hour.
	samplesPerPeriod = 10
	samplePeriodMax  = time.Hour
	// revisionsInterval is how often the number of revisions is looked at.
	revisionsInterval = 5 * time.Minute
)

// Validate reports every faulty value.
func (p Policy) Validate() error {
	var faults []error
	if p.Period < 0 || p.Revisions < 0 {
		faults = append(faults, fmt.Errorf("compactor: %+v is negative", p))
	}
	if p.Period > 0 && p.Revisions > 0 {
		faults = append(faults, errors.New("compactor: history is kept by time or by revisions, not both"))
	}
	if p.Period > 0 && p.Period < samplesPerPeriod*time.Millisecond {
		faults = append(faults, fmt.Errorf("compactor: a period of %v is too short", p.Period))
	}
	return errors.Join(faults...)
}

// Cluster is what Auto compacts.
type Cluster interface {
	// Revision is the newest revision.
	Revision() int64
	// Leads tells whether this member is the leader.
	Leads() bool
	// Compact replicates a compaction. statemachine.ErrCompacted says that it
	// was made before.
	Compact(ctx context.Context, revision int64) error
}

// Auto proposes compactions as a policy asks.
type Auto struct {
	policy  Policy
	cluster Cluster
	logger  *zap.Logger
}

// NewAuto returns an Auto; Run runs it.
func NewAuto(policy Policy, cluster Cluster, logger *zap.Logger) (*Auto, error) {
	if err := policy.Validate(); err != nil {
		return nil, err
	}
	return &Auto{policy: policy, cluster: cluster, logger: logger}, nil
}

// Run proposes compactions until ctx ends.
func (a *Auto) Run(ctx context.Context) {
	switch {
	case a.policy.Period > 0:
		a.byTime(ctx)
	case a.policy.Revisions > 0:
		a.byRevisions(ctx)
	}
}

// byTime compacts, once a period and at least once an hour, at the revision
// that was the newest a period ago.
func (a *Auto) byTime(ctx context.Context) {
	every := min(a.policy.Period, samplePeriodMax)
	ticker := time.NewTicker(every / samplesPerPeriod)
	defer ticker.Stop()
	newest := []int64{a.cluster.Revision()} // the last one is of now, the first of a period ago
	samplesMax := int(a.policy.Period/(every/samplesPerPeriod)) + 1
	due := time.Now().Add(a.policy.Period)
	done := int64(0)
	for {
		select {
		case now := <-ticker.C:
			newest = append(newest, a.cluster.Revision())
			newest = newest[max(0, len(newest)-samplesMax):]
			if now.Before(due) || newest[0] == done || !a.cluster.Leads() {
				continue
			}
			if a.compact(ctx, newest[0]) {
				done, due = newest[0], now.Add(every)
			}
		case <-ctx.Done():
			return
		}
	}
}

// byRevisions compacts at what is Revisions below the newest.
func (a *Auto) byRevisions(ctx context.Context) {
	ticker := time.NewTicker(revisionsInterval)
	defer ticker.Stop()
	done := int64(0)
	for {
		select {
		case <-ticker.C:
			revision := a.cluster.Revision() - a.policy.Revisions
			if revision > 0 && revision != done && a.cluster.Leads() && a.compact(ctx, revision) {
				done = revision
			}
		case <-ctx.Done():
			return
		}
	}
}

// compact reports whether the compaction was made, now or before.
func (a *Auto) compact(ctx context.Context, revision int64) bool {
	err := a.cluster.Compact(ctx, revision)
	if err != nil && !errors.Is(err, statemachine.ErrCompacted) {
		if ctx.Err() == nil {
			a.logger.Warn("automatic compaction failed; it is tried again later", zap.Int64("revision", revision), zap.Error(err))
		}
		return false
	}
	a.logger.Info("compacted automatically", zap.Int64("revision", revision))
	return true
}
