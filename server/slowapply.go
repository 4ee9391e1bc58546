package server

import (
	"time"

	"go.etcd.io/raft/v3/raftpb"
	"go.uber.org/zap"

	"raftkv/node"
)

// slowApply is a state machine that warns when applying took long.
type slowApply struct {
	node.StateMachine
	threshold time.Duration
	logger    *zap.Logger
}

// watchApply returns m, watched if the configuration wants it.
func watchApply(m node.StateMachine, cfg *Config) node.StateMachine {
	if cfg.WarnApplyDuration <= 0 {
		return m
	}
	return slowApply{m, cfg.WarnApplyDuration, cfg.Logger}
}

func (s slowApply) Apply(entries []*raftpb.Entry, answer func(index, proposer, boot, batch uint64, results []any)) (*raftpb.ConfState, error) {
	began := time.Now()
	conf, err := s.StateMachine.Apply(entries, answer)
	if took := time.Since(began); took > s.threshold {
		s.logger.Warn("apply request took too long",
			zap.Duration("took", took), zap.Duration("expected-duration", s.threshold), zap.Int("entries", len(entries)))
	}
	return conf, err
}
