package main

import (
	"testing"

	"go.uber.org/zap"
)

func TestGoverningWaitsForAllMembers(t *testing.T) {
	for name, c := range map[string]struct {
		members int
		bear    []bool
		want    int
	}{
		"one member":                {1, []bool{true}, 1},
		"one that does not bear it": {1, []bool{false}, 0},
		"three":                     {3, []bool{true, true, true}, 1},
		"one has not been started":  {3, []bool{true, true}, 0},
		"one does not bear it":      {3, []bool{false, true, true}, 0},
	} {
		g := newGoverning(c.members, zap.NewNop())
		running, begun := 0, 0
		g.govern = func(*zap.Logger) func() {
			running++
			begun++
			return func() { running-- }
		}
		for _, bears := range c.bear {
			g.started(bears)
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

func TestMemberStartedAfterTheEnd(t *testing.T) {
	g := newGoverning(1, zap.NewNop())
	g.govern = func(*zap.Logger) func() {
		t.Error("a governor that nobody ends")
		return func() {}
	}
	g.end()
	g.started(true)
}
