package statemachine_test

import (
	"errors"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"go.etcd.io/etcd/api/v3/membershippb"

	"raftkv/statemachine"
	"raftkv/statemachine/envelope"
)

func downgrade(t testing.TB, enabled bool, version string) []byte {
	return command(t, envelope.KindDowngrade, &membershippb.DowngradeInfoSetRequest{Enabled: enabled, Ver: version})
}

// TestDowngradeTarget: the target is kept with the state, and part of what
// members compare.
func TestDowngradeTarget(t *testing.T) {
	fs := vfs.NewMem()
	m, l := open(t, fs), newLog(t)
	if err := m.Bootstrap(seed()); err != nil {
		t.Fatal(err)
	}
	early := apply(t, m, l.entry(downgrade(t, true, "3.6.0")))[0]
	if err, _ := early.(error); !errors.Is(err, statemachine.ErrNotYet) {
		t.Errorf("before there is a cluster version: %v", early)
	}
	apply(t, m, l.entry(setVersion(t, "0.1.0")))
	for _, step := range []struct {
		enabled       bool
		version, then string
		want          error
	}{
		{false, "", "", nil},
		{true, "3.6.0", "3.6.0", nil},
		{true, "nonsense", "3.6.0", statemachine.ErrClusterVersion},
		{true, "", "3.6.0", statemachine.ErrClusterVersion},
	} {
		result := apply(t, m, l.entry(downgrade(t, step.enabled, step.version)))[0]
		if err, _ := result.(error); !errors.Is(err, step.want) || m.DowngradeTarget() != step.then {
			t.Errorf("%v %q: %v, then %q", step.enabled, step.version, result, m.DowngradeTarget())
		}
	}
	if err := m.Flush(); err != nil {
		t.Fatal(err)
	}
	closeMachine(t, m)
	m = open(t, fs)
	defer closeMachine(t, m)
	if got := m.DowngradeTarget(); got != "3.6.0" {
		t.Errorf("after a restart: %q", got)
	}
	apply(t, m, l.entry(downgrade(t, false, "")))
	if got := m.DowngradeTarget(); got != "" {
		t.Errorf("after it was cancelled: %q", got)
	}
}

func TestDowngradeIsCompared(t *testing.T) {
	hash := func(version string) uint64 {
		m, l := start(t), newLog(t)
		apply(t, m, l.entry(setVersion(t, "0.1.0"), downgrade(t, true, version)))
		_, hash := m.RollingHash()
		return hash
	}
	first, again, other := hash("3.6.0"), hash("3.6.0"), hash("3.5.0")
	if first == other || first != again {
		t.Errorf("the rolling hash does not tell targets apart: 3.6.0 gives %x and %x, 3.5.0 %x", first, again, other)
	}
}
