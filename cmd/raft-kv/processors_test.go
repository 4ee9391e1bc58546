package main

import (
	"sync/atomic"
	"testing"

	"go.uber.org/zap"
)

func TestGoverningWaitsForAllMembers(t *testing.T) {
	for name, c := range map[string]struct {
		members, started, want int
	}{
		"one member":               {1, 1, 1},
		"three":                    {3, 3, 1},
		"one has not been started": {3, 2, 0},
	} {
		g := newGoverning(c.members, zap.NewNop())
		running, begun := 0, 0
		g.govern = func(*zap.Logger, func() bool) func() {
			running++
			begun++
			return func() { running-- }
		}
		for range c.started {
			g.started(func() bool { return false })
		}
		if running != c.want {
			t.Errorf("%s: %d governors, want %d", name, running, c.want)
		}
		g.end()
		g.end()
		if running != 0 || begun != c.want {
			t.Errorf("%s: %d governors after the end, %d begun", name, running, begun)
		}
	}
}

// TestGovernorIsToldOfEachMember: also of one whose syncs hold a processor only
// later.
func TestGovernorIsToldOfEachMember(t *testing.T) {
	const members = 3
	for member := range members {
		g := newGoverning(members, zap.NewNop())
		var told func() bool
		g.govern = func(_ *zap.Logger, blocks func() bool) func() {
			told = blocks
			return func() {}
		}
		var hold [members]atomic.Bool
		for i := range hold {
			g.started(hold[i].Load)
		}
		if told() {
			t.Error("told of syncs that hold a processor when none do")
		}
		hold[member].Store(true)
		if !told() {
			t.Errorf("not told of member %d", member)
		}
		g.end()
	}
}

func TestMemberStartedAfterTheEnd(t *testing.T) {
	g := newGoverning(1, zap.NewNop())
	g.govern = func(*zap.Logger, func() bool) func() {
		t.Error("a governor that nobody ends")
		return func() {}
	}
	g.end()
	g.started(func() bool { return false })
}
