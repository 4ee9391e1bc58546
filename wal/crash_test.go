package wal_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"go.etcd.io/raft/v3/raftpb"

	"raftkv/wal"
	"raftkv/wal/crashlog"
)

// fakeDisk has the log in memory.
type fakeDisk struct {
	*crashlog.Disk
	counts map[string]int
}

func newFakeMember(t *testing.T, seed uint64) (*member, fakeDisk) {
	fake := fakeDisk{crashlog.New(crashOptions.Metadata, 700), map[string]int{}}
	m := &member{
		t: t, rng: rand.New(rand.NewPCG(seed, 1)), disk: fake,
		stepsMost: 8, dataBytes: 120, largeBytes: 120,
	}
	fake.OnStep = func(crashlog.Step) error { return m.onStep() }
	m.start()
	return m, fake
}

func (d fakeDisk) create(anchor *raftpb.SnapshotMetadata) error { return d.Create(anchor) }

func (d fakeDisk) open(state *raftpb.SnapshotMetadata) (*wal.Log, error) {
	segments, err := d.Open()
	if err != nil {
		return nil, err
	}
	return wal.OpenOn(segments, crashOptions, state)
}

func (d fakeDisk) die(rng *rand.Rand, power bool) {
	if !power {
		d.Kill(rng.IntN)
		return
	}
	before := d.Segments()
	d.Crash(rng.IntN)
	d.counts["segments lost"] += before - d.Segments()
}

func (d fakeDisk) unsynced() string {
	if all := d.String(); strings.Contains(all, "|") {
		return "what is behind a bar:\n" + all
	}
	return ""
}

// TestCrashes checks G1 to G4 over thousands of crashes in the middle of
// everything a log does, recovery included.
func TestCrashes(t *testing.T) {
	const worlds, steps = 60, 400
	total := map[string]int{}
	for seed := range uint64(worlds) {
		t.Run(fmt.Sprintf("seed=%d", seed), func(t *testing.T) {
			m, fake := newFakeMember(t, seed)
			for range steps {
				m.step()
			}
			for _, counts := range []map[string]int{m.counts, fake.counts} {
				for k, v := range counts {
					total[k] += v
				}
			}
		})
	}
	atLeast(t, total, map[string]int{
		"crashes": 3000, "append": 500, "release": 60, "reset": 50, "recovery": 300, "rest": 300, "raised": 5, "replaced": 500,
		"segments lost": 20,
	})
}

// atLeast checks that a test met with everything that it is about.
func atLeast(t *testing.T, total, least map[string]int) {
	t.Helper()
	t.Logf("%v", total)
	for what, n := range least {
		if total[what] < n {
			t.Errorf("only %d of %q, want at least %d", total[what], what, n)
		}
	}
}
