package processors

import (
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fakeMachine uses what its load says for as long as it is said, and keeps the
// changes it was asked for.
type fakeMachine struct {
	mu      sync.Mutex
	load    window // per windowLength
	last    time.Time
	total   usage
	err     error
	changes []string
}

func newFakeMachine(load window) *fakeMachine {
	return &fakeMachine{load: load, last: time.Now(), total: usage{waits: 1000, waited: time.Hour, cpu: time.Hour}}
}

func (f *fakeMachine) used() (usage, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.pass()
	return f.total, f.err
}

// pass adds what was used since the last time.
func (f *fakeMachine) pass() {
	share := float64(time.Since(f.last)) / float64(windowLength)
	f.last = time.Now()
	f.total.waits += uint64(share * float64(f.load.waits))
	f.total.waited += time.Duration(share * float64(f.load.waited))
	f.total.cpu += time.Duration(share * float64(f.load.cpu))
}

func (f *fakeMachine) put(load window) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.pass()
	f.load = load
}

func (f *fakeMachine) fail(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.err = err
}

// A change makes everything wait, as the real one does.
func (f *fakeMachine) change(to string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.changes = append(f.changes, to)
	f.total.waits += 100
	f.total.waited += time.Second
}

func (f *fakeMachine) one() { f.change("one") }
func (f *fakeMachine) all() { f.change("all") }

// never: syncs of the log hold no processor.
func never() bool { return false }

// expect compares all changes until the middle of the window after so many, and
// lets the rest of that one pass.
func (f *fakeMachine) expect(t *testing.T, windows int, want string) {
	t.Helper()
	time.Sleep(time.Duration(windows)*windowLength + windowLength/2)
	synctest.Wait()
	f.check(t, want)
	time.Sleep(windowLength / 2)
}

func (f *fakeMachine) check(t *testing.T, want string) {
	t.Helper()
	f.mu.Lock()
	defer f.mu.Unlock()
	if got := strings.Join(f.changes, " "); got != want {
		t.Fatalf("changes %q, want %q", got, want)
	}
}

func TestGovernorFollowsTheLoad(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFakeMachine(loneClient)
		core, logs := observer.New(zapcore.DebugLevel)
		stop := start(f, zap.New(core), never)
		f.expect(t, 2, "")
		f.expect(t, 0, "one") // the third window ended between the two
		f.expect(t, 100, "one")
		f.put(hundred)
		f.expect(t, 1, "one all")
		f.put(loneClient)
		f.expect(t, 8, "one all")
		f.expect(t, 2, "one all one")
		stop()
		f.check(t, "one all one all")
		for _, l := range logs.All() {
			if l.Level != zapcore.DebugLevel {
				t.Errorf("logged at level %v: %s", l.Level, l.Message)
			}
		}
		if logs.Len() != 3 {
			t.Errorf("%d lines for 3 decisions", logs.Len())
		}
	})
}

func TestStopWithAllChangesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFakeMachine(thousand)
		stop := start(f, zap.NewNop(), never)
		f.expect(t, 50, "")
		stop()
		f.expect(t, 50, "")
	})
}

func TestFailedMeasureBringsAllBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFakeMachine(idle)
		core, logs := observer.New(zapcore.WarnLevel)
		stop := start(f, zap.New(core), never)
		defer stop()
		f.expect(t, 4, "one")
		f.fail(errors.New("no such call"))
		f.expect(t, 1, "one all")
		f.fail(nil)
		f.expect(t, 50, "one all")
		if logs.Len() != 1 {
			t.Errorf("%d warnings, want 1", logs.Len())
		}
	})
}

// TestSyncsThatBlockBringAllBack: within a window, and for good.
func TestSyncsThatBlockBringAllBack(t *testing.T) {
	for name, c := range map[string]struct {
		before int // windows
		at     string
		after  string
	}{
		"from one":        {10, "one", "one all"},
		"before ever one": {1, "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFakeMachine(idle)
				core, logs := observer.New(zapcore.DebugLevel)
				var blocks atomic.Bool
				stop := start(f, zap.New(core), blocks.Load)
				defer stop()
				f.expect(t, c.before, c.at)
				said := logs.Len()
				blocks.Store(true)
				f.expect(t, 1, c.after)
				f.expect(t, 50, c.after)
				if logs.Len() != said+1 || logs.FilterLevelExact(zapcore.DebugLevel).Len() != logs.Len() {
					t.Errorf("logged %v, want one more line at level debug", logs.All())
				}
			})
		})
	}
}

func TestReasonsNotTo(t *testing.T) {
	f := newFakeMachine(idle)
	broken := newFakeMachine(idle)
	broken.fail(errors.New("no such call"))
	for name, c := range map[string]struct {
		environment string
		processors  int
		machine     machine
		blocks      func() bool
		want        string
	}{
		"nothing against it":   {"", 2, f, never, ""},
		"the user chose":       {"2", 2, f, never, "$GOMAXPROCS is set"},
		"one processor":        {"", 1, f, never, "there is only one"},
		"an unknown system":    {"", 2, nil, never, "the CPU used cannot be measured on this system"},
		"nothing can be known": {"", 2, broken, never, "no such call"},
		"syncs hold one":       {"", 2, f, func() bool { return true }, "the log is synced by calls that hold one"},
	} {
		if got := reasonNotTo(c.environment, c.processors, c.machine, c.blocks); got != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}
