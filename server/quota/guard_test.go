package quota

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"

	"raftkv/statemachine"
)

// fakeMember replicates its alarm in no time.
type fakeMember struct {
	mu              sync.Mutex
	live            int64
	free, total     uint64
	diskErr         error
	own, other      bool
	proposed        int
	proposeErr      error
	proposeDuration time.Duration
	reclaimable     int64
	rewritten       int
}

func (f *fakeMember) Reclaimable() (n int64) { f.do(func() { n = f.reclaimable }); return n }

// Rewrite frees what is reclaimable.
func (f *fakeMember) Rewrite(context.Context) error {
	f.do(func() {
		f.free += uint64(f.reclaimable)
		f.reclaimable = 0
		f.rewritten++
	})
	return nil
}

func (f *fakeMember) do(change func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change()
}

func (f *fakeMember) LiveBytes() (n int64) { f.do(func() { n = f.live }); return n }
func (f *fakeMember) Disk() (free, total uint64, err error) {
	f.do(func() { free, total, err = f.free, f.total, f.diskErr })
	return free, total, err
}
func (f *fakeMember) NoSpace() (is bool)    { f.do(func() { is = f.own || f.other }); return is }
func (f *fakeMember) proposals() (n int)    { f.do(func() { n = f.proposed }); return n }
func (f *fakeMember) rewrites() (n int)     { f.do(func() { n = f.rewritten }); return n }
func (f *fakeMember) OwnNoSpace() (is bool) { f.do(func() { is = f.own }); return is }

func (f *fakeMember) SetNoSpace(_ context.Context, active bool) (err error) {
	var took time.Duration
	f.do(func() { took = f.proposeDuration })
	pass(took)
	f.do(func() {
		f.proposed++
		if err = f.proposeErr; err == nil {
			f.own = active
		}
	})
	return err
}

const testNeed = 3 << 20

// start runs a guard in the bubble of t.
func start(t *testing.T, quota int64, f *fakeMember) *Guard {
	g := New(quota, testNeed, f, zap.NewNop())
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { g.Run(ctx) })
	t.Cleanup(func() { cancel(); running.Wait() })
	synctest.Wait()
	return g
}

func admit(t *testing.T, g *Guard, growth int64, want bool) {
	t.Helper()
	err := g.Admit(t.Context(), growth)
	if (err == nil) != want || err != nil && !errors.Is(err, statemachine.ErrNoSpace) {
		t.Errorf("growth by %d: %v, want it admitted: %t", growth, err, want)
	}
}

func TestQuota(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fakeMember{live: 900}
		g := start(t, 1000, f)
		admit(t, g, 99, true)
		admit(t, g, 100, false)
		if !f.OwnNoSpace() || f.proposals() != 1 {
			t.Fatalf("alarm %t after %d proposals", f.OwnNoSpace(), f.proposals())
		}
		admit(t, g, 1, false)
		// Room for a small one is not enough: one of 100 was refused.
		f.do(func() { f.live = 901 })
		pass(3 * checkInterval)
		admit(t, g, 1, false)
		// Room that does not last is not enough either.
		for range 3 {
			f.do(func() { f.live = 800 })
			pass(roomTime - 2*checkInterval)
			if !f.OwnNoSpace() {
				t.Error("the alarm ended before an operator could end it")
			}
			f.do(func() { f.live = 950 })
			pass(2 * checkInterval)
		}
		f.do(func() { f.live = 800 })
		pass(roomTime + 2*checkInterval)
		if f.OwnNoSpace() || f.proposals() != 2 {
			t.Errorf("alarm %t after %d proposals", f.OwnNoSpace(), f.proposals())
		}
		admit(t, g, 100, true)
		// Another member's alarm counts, and is not this one's to take back.
		f.do(func() { f.other = true })
		admit(t, g, 1, false)
		pass(5 * checkInterval)
		if f.proposals() != 2 {
			t.Errorf("%d proposals", f.proposals())
		}
	})
}

// TestManyRefusals: many writes that do not fit make one proposal, and all wait
// for it.
func TestManyRefusals(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fakeMember{live: 2000, proposeDuration: 300 * time.Millisecond}
		g := start(t, 1000, f)
		began := time.Now()
		var wg sync.WaitGroup
		for range 50 {
			wg.Go(func() {
				admit(t, g, 10, false)
				if !f.NoSpace() || time.Since(began) != 300*time.Millisecond {
					t.Errorf("answered after %v", time.Since(began))
				}
			})
		}
		wg.Wait()
		if f.proposals() != 1 {
			t.Errorf("%d proposals", f.proposals())
		}
		// One that cannot be made is made again by the next write.
		f.do(func() { f.own, f.proposeErr = false, errors.New("no leader") })
		admit(t, g, 10, false)
		f.do(func() { f.proposeErr = nil })
		admit(t, g, 10, false)
		if !f.OwnNoSpace() || f.proposals() != 3 {
			t.Errorf("alarm %t after %d proposals", f.OwnNoSpace(), f.proposals())
		}
	})
}

func TestReserveOfTheDisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const gib = 1 << 30
		f := &fakeMember{free: 10 * gib, total: 100 * gib}
		g := start(t, -1, f)
		if g.Bytes() != 0 {
			t.Errorf("quota %d", g.Bytes())
		}
		admit(t, g, 1<<40, true)
		f.do(func() { f.free = reserveBytesMax - 1 })
		pass(2 * checkInterval)
		if !f.OwnNoSpace() {
			t.Error("no alarm though the disk is full")
		}
		admit(t, g, 1, false)
		const enough = reserveBytesMax + reserveBytesMax/reserveClearance
		f.do(func() { f.free = enough - 1 })
		pass(roomTime + 2*checkInterval)
		admit(t, g, 1, false)
		f.do(func() { f.free = enough })
		pass(roomTime + 2*checkInterval)
		admit(t, g, 1, true)
		// A small disk has a smaller reserve.
		f.do(func() { f.free, f.total = 6<<20, 100<<20 })
		pass(2 * checkInterval)
		admit(t, g, 1, true)
		f.do(func() { f.diskErr = errors.New("cannot tell") })
		pass(2 * checkInterval)
		admit(t, g, 1, true)
	})
}

// TestSmallDisk: the reserve never falls below what must go on needs, and a
// full disk is made to give space back, but not for ever and not for nothing.
func TestSmallDisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fakeMember{free: testNeed, total: 20 << 20}
		g := start(t, -1, f)
		admit(t, g, 1, true)
		f.do(func() { f.free = testNeed - 1 })
		pass(2 * checkInterval)
		admit(t, g, 1, false)
		f.do(func() { f.reclaimable = testNeed/reserveClearance - 1 })
		pass(2 * rewriteInterval)
		if f.rewrites() != 0 {
			t.Error("rewritten though that would not help")
		}
		f.do(func() { f.free, f.reclaimable = 0, testNeed/2 })
		pass(2 * checkInterval)
		if f.rewrites() != 1 || !f.OwnNoSpace() {
			t.Errorf("rewritten %d times, alarm %t", f.rewrites(), f.OwnNoSpace())
		}
		f.do(func() { f.reclaimable = testNeed })
		pass(rewriteInterval / 2)
		if f.rewrites() != 1 {
			t.Error("rewritten again at once")
		}
		pass(rewriteInterval)
		if f.rewrites() != 2 || f.OwnNoSpace() {
			t.Errorf("rewritten %d times, alarm %t", f.rewrites(), f.OwnNoSpace())
		}
		admit(t, g, 1, true)
	})
}

func TestDefault(t *testing.T) {
	if g := New(0, 0, &fakeMember{}, zap.NewNop()); g.Bytes() != DefaultBytes {
		t.Errorf("quota %d", g.Bytes())
	}
}
