package measure

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"raftkv/bench/internal/kvload"
	"raftkv/bench/internal/load"
)

// connectTimeout limits finding the leader and connecting, each.
const connectTimeout = 10 * time.Second

// maxConnections keeps one generator within the usual limit of open files.
const maxConnections = 10_000

// Target says which members get the load.
type Target string

// Targets.
const (
	TargetLeader Target = "leader"
	TargetAll    Target = "all"
)

// Spec describes a measurement.
type Spec struct {
	Endpoints   []string
	Target      Target
	Connections int
	Workload    kvload.Spec
	Load        load.Config // without hooks
	// Preload writes every key first if the workload reads them.
	Preload bool
	// Compact compacts everything at the beginning of the window, while the load
	// goes on.
	Compact bool
	// Began, unless nil, is called when all is loaded and the load begins.
	Began func()
	// PIDs are the server processes to charge, Proc where to read them.
	PIDs []int
	Proc fs.FS
}

// Validate reports all faults at once.
func (s Spec) Validate() error {
	faults := []error{s.Workload.Validate(), s.Load.Validate()}
	if s.Target != TargetLeader && s.Target != TargetAll {
		faults = append(faults, fmt.Errorf("target must be %s or %s, not %q", TargetLeader, TargetAll, s.Target))
	}
	if s.Connections < 1 || s.Connections > maxConnections {
		faults = append(faults, fmt.Errorf("connections must be between 1 and %d, not %d", maxConnections, s.Connections))
	}
	for _, pid := range s.PIDs {
		if pid < 1 {
			faults = append(faults, fmt.Errorf("%d is not a process id", pid))
		}
	}
	return errors.Join(faults...)
}

// Point is one measurement.
type Point struct {
	Target      Target      `json:"target"`
	Endpoints   []string    `json:"endpoints"` // those that got the load
	Connections int         `json:"connections"`
	Workload    kvload.Spec `json:"workload"`
	load.Result
	// LeaderChanged means that another member led after the run than before.
	LeaderChanged bool `json:"leader_changed,omitempty"`
	// Servers is nil if no process was given.
	Servers *Cost `json:"servers,omitempty"`
	// Generator is the cost of this process; nil where /proc does not exist.
	Generator *Cost `json:"generator,omitempty"`
	// Others is what everything else on the machine used; nil if the server
	// processes were not given, or where /proc does not exist.
	Others *Others `json:"others,omitempty"`
	// CompactionSeconds is how long the compaction took; 0: there was none.
	CompactionSeconds float64 `json:"compaction_seconds,omitempty"`
	// Outage is present where members were killed.
	Outage *Outage `json:"outage,omitempty"`
	// MaximumPerSecond is what the cluster took at most before a measurement at
	// half of that rate, beside an event: it went on for EventSeconds the first
	// time, and was had EventRuns times.
	MaximumPerSecond float64 `json:"maximum_per_second,omitempty"`
	EventSeconds     float64 `json:"event_seconds,omitempty"`
	EventRuns        int     `json:"event_runs,omitempty"`
	// FailuresExpected means that operations were to fail, because members were
	// killed under the load.
	FailuresExpected bool `json:"failures_expected,omitempty"`
	// Doubts say why a figure may not be what it should be.
	Doubts []string `json:"doubts,omitempty"`
	// DiskBytes is what the members' directories took at the end, where somebody
	// measured it.
	DiskBytes int64 `json:"disk_bytes,omitempty"`
}

// Others are the processes that should not have run: with them busy, a figure
// is not one of a quiet machine.
type Others struct {
	Cores       float64 `json:"cores"`
	StolenCores float64 `json:"stolen_cores"`
}

// Cost is what processes used in the measured window.
type Cost struct {
	Cores             float64 `json:"cores"`
	CPUPerOpUS        float64 `json:"cpu_per_op_us"` // 0 if no operation completed
	ResidentBytes     int64   `json:"resident_bytes"`
	PeakResidentBytes int64   `json:"peak_resident_bytes"`
}

// Run takes the measurement.
func Run(ctx context.Context, s Spec) (point Point, err error) {
	if err := s.Validate(); err != nil {
		return Point{}, err
	}
	targets, err := s.targets(ctx)
	if err != nil {
		return Point{}, err
	}
	conns, err := dial(ctx, targets, s.Connections)
	if err != nil {
		return Point{}, err
	}
	defer func() { err = errors.Join(err, conns.Close()) }()

	workload := kvload.New(s.Workload, conns, s.Load.Clients)
	if err := workload.Open(targets, s.Connections); err != nil {
		return Point{}, err
	}
	defer func() { err = errors.Join(err, workload.Close()) }()
	if s.Preload && s.Workload.NeedsKeys() {
		if err := workload.Preload(ctx, s.Load.Timeout); err != nil {
			return Point{}, err
		}
	}
	costs := newSampler(s.Proc, s.PIDs)
	cfg := s.Load
	cfg.AtWindowStart, cfg.AtWindowEnd = costs.begin, costs.end
	compaction := &compaction{workload: workload}
	if s.Compact {
		cfg.AtWindowStart = func() error { compaction.start(ctx); return costs.begin() }
	}
	if s.Began != nil {
		s.Began()
	}
	result, err := load.Run(ctx, cfg, workload)
	seconds, compactionErr := compaction.wait()
	if err = errors.Join(err, compactionErr); err != nil {
		return Point{}, err
	}
	point = Point{
		Target:        s.Target,
		Endpoints:     targets,
		Connections:   s.Connections,
		Workload:      s.Workload,
		Result:        result,
		LeaderChanged: s.leaderChanged(ctx, targets),

		CompactionSeconds: seconds,
	}
	costs.fill(&point)
	return point, nil
}

func (s Spec) targets(ctx context.Context) ([]string, error) {
	if s.Target == TargetAll {
		return s.Endpoints, nil
	}
	ctx, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	leader, err := kvload.Leader(ctx, s.Endpoints)
	if err != nil {
		return nil, fmt.Errorf("finding the leader: %w", err)
	}
	return []string{leader}, nil
}

// leaderChanged is true too if there is no leader left to compare with.
func (s Spec) leaderChanged(ctx context.Context, targets []string) bool {
	if s.Target != TargetLeader {
		return false
	}
	now, err := s.targets(ctx)
	return err != nil || now[0] != targets[0]
}

func dial(ctx context.Context, targets []string, count int) (*kvload.Conns, error) {
	ctx, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	return kvload.Dial(ctx, targets, count)
}
