package corruption

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"raftkv/statemachine"
)

const self = 1

// fake is a cluster as member 1 sees it.
type fake struct {
	mu          sync.Mutex
	leads       bool
	own         statemachine.KVHash
	ownErr      error
	compactions []statemachine.KVHash
	// peers by id and revision asked; revision -1: any.
	peers      map[uint64]map[int64]answer
	corrupt    map[uint64]bool
	asked      int
	confirmErr error
}

func (f *fake) ID() uint64 { return self }
func (f *fake) Leads() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.leads
}
func (f *fake) Peers() []uint64 { return slices.Sorted(maps.Keys(f.peers)) }
func (f *fake) HashKV(context.Context, int64) (statemachine.KVHash, error) {
	return f.own, f.ownErr
}
func (f *fake) CompactionHashes() []statemachine.KVHash { return f.compactions }
func (f *fake) AskHash(_ context.Context, peer uint64, revision int64) (statemachine.KVHash, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.asked++
	a, known := f.peers[peer][revision]
	if !known {
		a, known = f.peers[peer][-1]
	}
	if !known {
		return statemachine.KVHash{}, statemachine.ErrCompacted
	}
	return a.hash, a.err
}
func (f *fake) Confirm(context.Context) error { return f.confirmErr }
func (f *fake) Revision() int64               { return f.own.Revision }
func (f *fake) CompactedRevision() int64      { return f.own.CompactRevision }
func (f *fake) SetCorrupt(_ context.Context, member uint64) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.corrupt == nil {
		f.corrupt = map[uint64]bool{}
	}
	f.corrupt[member] = true
	return nil
}

func hash(sum uint32, compacted, revision int64) statemachine.KVHash {
	return statemachine.KVHash{Hash: sum, CompactRevision: compacted, HashRevision: revision, Revision: revision}
}

func says(h statemachine.KVHash) map[int64]answer { return map[int64]answer{-1: {hash: h}} }

func fails(err error) map[int64]answer { return map[int64]answer{-1: {err: err}} }

func (f *fake) alarms() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return fmt.Sprint(slices.Sorted(maps.Keys(f.corrupt)))
}

func TestPeriodic(t *testing.T) {
	own := hash(7, 3, 20)
	future, broken, away := statemachine.ErrFutureRevision, fmt.Errorf("no version: %w", statemachine.ErrCorrupt), errors.New("connection refused")
	ahead := own
	ahead.Revision = 25
	compactedMore := hash(9, 5, 20)
	for name, tc := range map[string]struct {
		peers map[uint64]map[int64]answer
		want  string
	}{
		"equal":                    {map[uint64]map[int64]answer{2: says(own), 3: says(own)}, "[]"},
		"a follower differs":       {map[uint64]map[int64]answer{2: says(hash(8, 3, 20)), 3: says(own)}, "[2]"},
		"the leader differs":       {map[uint64]map[int64]answer{2: says(hash(8, 3, 20)), 3: says(hash(8, 3, 20))}, "[1]"},
		"all differ":               {map[uint64]map[int64]answer{2: says(hash(8, 3, 20)), 3: says(hash(9, 3, 20))}, "[0]"},
		"two of two differ":        {map[uint64]map[int64]answer{2: says(hash(8, 3, 20))}, "[0]"},
		"one differs, one is away": {map[uint64]map[int64]answer{2: says(hash(8, 3, 20)), 3: fails(away)}, "[0]"},
		"nobody answers":           {map[uint64]map[int64]answer{2: fails(away), 3: fails(future)}, "[]"},
		"it contradicts itself":    {map[uint64]map[int64]answer{2: fails(broken), 3: says(own)}, "[2]"},
		"more than was committed":  {map[uint64]map[int64]answer{2: says(ahead), 3: says(own)}, "[2]"},
		"compacted beyond":         {map[uint64]map[int64]answer{2: says(compactedMore), 3: says(own)}, "[2]"},
		"compacted less":           {map[uint64]map[int64]answer{2: says(hash(9, 2, 20)), 3: says(own)}, "[]"},
		"alone":                    {nil, "[]"},
		"two of five differ":       {map[uint64]map[int64]answer{2: says(hash(8, 3, 20)), 3: says(own), 4: says(own), 5: says(hash(9, 3, 20))}, "[2 5]"},
		"two of five, one is away": {map[uint64]map[int64]answer{2: says(hash(8, 3, 20)), 3: says(own), 4: fails(away), 5: says(hash(9, 3, 20))}, "[0]"},
	} {
		f := &fake{own: own, peers: tc.peers}
		if err := New(Config{}, f).Periodic(t.Context()); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if got := f.alarms(); got != tc.want {
			t.Errorf("%s: alarms for %s, want %s", name, got, tc.want)
		}
	}
	f := &fake{own: own, ownErr: broken}
	if err := New(Config{}, f).Periodic(t.Context()); !errors.Is(err, statemachine.ErrCorrupt) || f.alarms() != "[1]" {
		t.Errorf("a leader that contradicts itself: %v, alarms for %s", err, f.alarms())
	}
	// Without a quorum nothing is known to be committed.
	f = &fake{own: own, confirmErr: away, peers: map[uint64]map[int64]answer{2: says(hash(8, 3, 20)), 3: says(own)}}
	if err := New(Config{}, f).Periodic(t.Context()); !errors.Is(err, away) || f.alarms() != "[]" {
		t.Errorf("no quorum: %v, alarms for %s", err, f.alarms())
	}
}

func TestCompaction(t *testing.T) {
	newer, older := hash(7, 10, 20), hash(5, 3, 10)
	both := map[int64]answer{20: {hash: newer}, 10: {hash: older}}
	f := &fake{compactions: []statemachine.KVHash{newer, older}, peers: map[uint64]map[int64]answer{2: both, 3: {10: {hash: older}}}}
	core, logs := observer.New(zap.InfoLevel)
	c := New(Config{Logger: zap.New(core)}, f)
	check := func(asked int, want string) {
		t.Helper()
		f.asked = 0
		if err := c.Compaction(t.Context()); err != nil || f.alarms() != want || f.asked != asked {
			t.Errorf("%v, %d asked, want %d, alarms for %s, want %s", err, f.asked, asked, f.alarms(), want)
		}
		if n := logs.FilterMessage("finished compaction hash check").Len(); n != 1 {
			t.Errorf("said %d times that it is finished", n)
		}
		logs.TakeAll()
	}
	check(4, "[]") // member 3 has not swept the newer one; all have the older one
	check(2, "[]") // which is not looked at again
	f.peers[3] = both
	check(2, "[]")
	check(0, "[]")
	f.compactions = []statemachine.KVHash{hash(1, 20, 30), newer, older}
	f.peers[2] = map[int64]answer{30: {hash: hash(1, 20, 30)}}
	f.peers[3] = map[int64]answer{30: {hash: hash(2, 20, 30)}}
	check(2, "[3]")
	check(0, "[3]") // it is known
}

func TestInitial(t *testing.T) {
	own := hash(7, 3, 20)
	for name, tc := range map[string]struct {
		answer map[int64]answer
		err    error
	}{
		"equal":          {says(own), nil},
		"different":      {says(hash(8, 3, 20)), ErrDiffers},
		"compacted more": {says(hash(8, 4, 20)), nil},
		"behind":         {fails(statemachine.ErrFutureRevision), nil},
		"away":           {fails(errors.New("connection refused")), nil},
	} {
		f := &fake{own: own, peers: map[uint64]map[int64]answer{2: says(own), 3: tc.answer}}
		err := New(Config{}, f).Initial(t.Context())
		if !errors.Is(err, tc.err) || (err != nil && !strings.Contains(err.Error(), "empty data directory")) {
			t.Errorf("%s: %v", name, err)
		}
		if f.alarms() != "[]" {
			t.Errorf("%s: alarms for %s before it takes part", name, f.alarms())
		}
	}
	f := &fake{ownErr: statemachine.ErrCorrupt}
	if err := New(Config{}, f).Initial(t.Context()); !errors.Is(err, statemachine.ErrCorrupt) {
		t.Errorf("a key space that contradicts itself: %v", err)
	}
}

// TestRun: only a leader checks, at its intervals.
func TestRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		own := hash(7, 3, 20)
		f := &fake{own: own, compactions: []statemachine.KVHash{hash(1, 2, 3)}, peers: map[uint64]map[int64]answer{2: says(own)}}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() {
			defer close(done)
			New(Config{Interval: time.Minute}, f).Run(ctx)
		}()
		asked := func() int {
			synctest.Wait()
			f.mu.Lock()
			defer f.mu.Unlock()
			return f.asked
		}
		pass(5 * time.Minute)
		if n := asked(); n != 0 {
			t.Errorf("a follower asked %d times", n)
		}
		f.mu.Lock()
		f.leads = true
		f.mu.Unlock()
		pass(5 * time.Minute)
		if n := asked(); n != 5 {
			t.Errorf("a leader asked %d times in 5 minutes", n)
		}
		cancel()
		<-done
	})
}

// pass lets virtual time pass; only for use in a synctest bubble.
func pass(d time.Duration) { <-time.After(d) }
