package server

import (
	"errors"
	"testing"
	"time"

	"go.etcd.io/raft/v3/raftpb"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"raftkv/node"
)

// oneAnswer is a state machine whose Apply answers always the same.
type oneAnswer struct {
	node.StateMachine
	conf *raftpb.ConfState
	err  error
}

func (o oneAnswer) Apply([]*raftpb.Entry, func(index, proposer, boot, batch uint64, results []any)) (*raftpb.ConfState, error) {
	return o.conf, o.err
}

func TestSlowApplyIsTold(t *testing.T) {
	m := oneAnswer{conf: &raftpb.ConfState{}, err: errors.New("disk")}
	for threshold, want := range map[time.Duration]int{time.Nanosecond: 1, time.Hour: 0, 0: 0} {
		core, logs := observer.New(zap.WarnLevel)
		watched := watchApply(m, &Config{WarnApplyDuration: threshold, Logger: zap.New(core)})
		conf, err := watched.Apply(nil, nil)
		if conf != m.conf || !errors.Is(err, m.err) {
			t.Errorf("the answer changed to %v, %v", conf, err)
		}
		if got := logs.FilterMessage("apply request took too long").Len(); got != want {
			t.Errorf("threshold %v: %d warnings, want %d", threshold, got, want)
		}
	}
}
