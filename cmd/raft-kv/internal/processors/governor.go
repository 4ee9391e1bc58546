package processors

import (
	"context"
	"errors"
	"os"
	"runtime"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// usage is what the process has used since it began.
type usage struct {
	waits  uint64
	waited time.Duration
	cpu    time.Duration
}

// machine is what a governor measures and acts on.
type machine interface {
	// used is called by one goroutine at a time.
	used() (usage, error)
	one()
	all()
}

// Govern governs the processors of this process until stop is called, which
// returns when all are back. blocks says whether syncs of the log hold a
// processor; it is asked now and in each window, and once they do they always
// will. Where there is nothing to govern Govern only says why, at level debug. At
// most one governor may run in a process.
func Govern(logger *zap.Logger, blocks func() bool) (stop func()) {
	m := newMachine()
	if why := reasonNotTo(os.Getenv("GOMAXPROCS"), runtime.GOMAXPROCS(0), m, blocks); why != "" {
		logger.Debug("the number of processors is left as it is", zap.String("reason", why))
		return func() {}
	}
	return start(m, logger, blocks)
}

// errBlocks keeps a governor from beginning, or ends it.
var errBlocks = errors.New("the log is synced by calls that hold one")

// reasonNotTo is empty if a process with so many processors may be governed.
func reasonNotTo(environment string, processors int, m machine, blocks func() bool) string {
	switch {
	case environment != "":
		return "$GOMAXPROCS is set"
	case processors < 2:
		return "there is only one"
	case m == nil:
		return "the CPU used cannot be measured on this system"
	case blocks():
		return errBlocks.Error()
	}
	if _, err := m.used(); err != nil {
		return err.Error()
	}
	return ""
}

func start(m machine, logger *zap.Logger, blocks func() bool) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		g := governor{machine: m, logger: logger, blocks: blocks}
		level := zapcore.WarnLevel
		err := g.run(ctx)
		if errors.Is(err, errBlocks) {
			level = zapcore.DebugLevel // the log's own warning said more
		}
		if err != nil {
			logger.Log(level, "all processors are used from now on, whatever happens", zap.Error(err))
		}
	}()
	return func() {
		cancel()
		<-ended
	}
}

type governor struct {
	machine machine
	logger  *zap.Logger
	blocks  func() bool
	policy  policy

	// The open window began then, when that had been used.
	began  time.Time
	before usage
}

// run governs until ctx ends, syncs block, or a measure fails.
func (g *governor) run(ctx context.Context) error {
	one := false
	defer func() {
		if one {
			g.machine.all()
		}
	}()
	ticks := time.NewTicker(windowLength)
	defer ticks.Stop()
	if _, err := g.window(); err != nil {
		return err
	}
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticks.C:
		}
		if g.blocks() {
			return errBlocks
		}
		w, err := g.window()
		if err != nil {
			return err
		}
		if want := g.policy.next(w); want != one {
			one = want
			if err := g.change(one, w); err != nil {
				return err
			}
		}
	}
}

// window ends the open window and opens the next one.
func (g *governor) window() (window, error) {
	now := time.Now()
	used, err := g.machine.used()
	if err != nil {
		return window{}, err
	}
	w := window{
		length: now.Sub(g.began),
		waits:  used.waits - g.before.waits,
		waited: used.waited - g.before.waited,
		cpu:    used.cpu - g.before.cpu,
	}
	g.began, g.before = now, used
	return w, nil
}

// change acts on the decision that w led to.
func (g *governor) change(one bool, w window) error {
	to := "all"
	if one {
		to = "one"
		g.machine.one()
	} else {
		g.machine.all()
	}
	g.logger.Debug("changed the number of processors", zap.String("to", to), zap.Duration("mean-wait", w.meanWait()),
		zap.Float64("cores-used", w.cores()), zap.Duration("hold", g.policy.hold))
	// The change stopped the world, and what waited for that is no sign of anything.
	_, err := g.window()
	return err
}
