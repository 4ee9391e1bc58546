package statemachine_test

import (
	"errors"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"raftkv/statemachine"
	"raftkv/statemachine/envelope"
)

func leaseReads(promise time.Duration) []byte {
	body := envelope.LeaseReads{PromiseMS: uint64(promise.Milliseconds())}.Encode()
	return envelope.EncodeCommand(envelope.Command{Kind: envelope.KindLeaseReads, Body: body})
}

// TestLeaseReads: the switch is kept with the state, told of, and part of what
// members compare.
func TestLeaseReads(t *testing.T) {
	fs := vfs.NewMem()
	told := 0
	opts := options(t, fs)
	opts.OnLeaseReads = func() { told++ }
	m, err := statemachine.Open(opts)
	if err != nil {
		t.Fatal(err)
	}
	l := newLog(t)
	if err := m.Bootstrap(seed()); err != nil {
		t.Fatal(err)
	}
	early := apply(t, m, l.entry(setVersion(t, "0.1.0"), leaseReads(time.Second)))[1]
	if err, _ := early.(error); !errors.Is(err, statemachine.ErrNotYet) || m.LeaseReads() != 0 {
		t.Errorf("before the cluster version allows it: %v", early)
	}
	apply(t, m, l.entry(setVersion(t, "0.2.0")))
	_, before := m.RollingHash()
	for _, step := range []struct {
		promise, then time.Duration
		want          error
		told          int
	}{
		{time.Millisecond, 0, statemachine.ErrLeasePromise, 0},
		{time.Second, time.Second, nil, 1},
		{time.Hour, time.Second, statemachine.ErrLeasePromise, 1},
		{time.Second, time.Second, nil, 1},
		{0, 0, nil, 2},
		{1500 * time.Millisecond, 1500 * time.Millisecond, nil, 3},
	} {
		result := apply(t, m, l.entry(leaseReads(step.promise)))[0]
		if err, _ := result.(error); !errors.Is(err, step.want) || m.LeaseReads() != step.then || told != step.told {
			t.Errorf("%v: %v, then %v, told %d times", step.promise, result, m.LeaseReads(), told)
		}
	}
	if _, after := m.RollingHash(); after == before {
		t.Error("the rolling hash does not cover the switch")
	}
	if err := m.Flush(); err != nil {
		t.Fatal(err)
	}
	closeMachine(t, m)
	m = open(t, fs)
	defer closeMachine(t, m)
	if got := m.LeaseReads(); got != 1500*time.Millisecond {
		t.Errorf("after a restart: %v", got)
	}
}
