package cluster

import (
	"os"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestKilledMemberStartsAgain(t *testing.T) {
	c, err := Start(t.Context(), testConfig(t, "serve"))
	if err != nil {
		t.Fatal(err)
	}
	before := slices.Clone(c.processes)
	if err := c.Restart(1); err == nil {
		t.Error("a member that runs was started again")
	}
	asked := time.Now()
	sent, err := c.Kill(0, 1)
	if err != nil || sent.Before(asked) || sent.After(time.Now()) {
		t.Fatalf("killed at %v, %v", sent, err)
	}
	requireGone(t, before[:2])
	if err := c.Alive(); err != nil || len(c.PIDs()) != 1 {
		t.Errorf("%v; %d members run", err, len(c.PIDs()))
	}
	if _, err := c.Kill(0); err == nil {
		t.Error("a member was killed twice")
	}
	if err := c.Restart(0, 1); err != nil {
		t.Fatal(err)
	}
	if err := c.AwaitReady(t.Context(), time.Minute, listening); err != nil {
		t.Fatal(err)
	}
	if slices.Contains(before, c.processes[1]) || !slices.Equal(before[1].args, c.processes[1].args) {
		t.Error("not a new process with the same flags")
	}
	if err := c.Stop(t.Context()); err != nil {
		t.Error(err)
	}
	requireGone(t, c.processes)
}

func TestStopAfterAKill(t *testing.T) {
	c, err := Start(t.Context(), testConfig(t, "serve"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Kill(2); err != nil {
		t.Fatal(err)
	}
	if err := c.Stop(t.Context()); err != nil {
		t.Error(err)
	}
	requireGone(t, c.processes)
}

func TestLogGoesOnAfterARestart(t *testing.T) {
	path := t.TempDir() + "/log"
	if err := os.WriteFile(path, []byte("before\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv(behaviour, "fail")
	p, err := startProcess("fake", os.Args[0], path, nil)
	if err != nil {
		t.Fatal(err)
	}
	<-p.ended
	if text := logTail(path); !strings.HasPrefix(text, "before\n") || len(text) <= len("before\n") {
		t.Errorf("the log is %q", text)
	}
}
