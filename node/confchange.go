package node

import (
	"fmt"
	"slices"

	"go.etcd.io/raft/v3/quorum"
	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"
)

func (c *Core) noteConf(conf *raftpb.ConfState) {
	c.confirming.configure(c.cfg.ID, conf)
	was := c.learner
	c.learner = slices.Contains(conf.GetLearners(), c.cfg.ID) || slices.Contains(conf.GetLearnersNext(), c.cfg.ID)
	if was && slices.Contains(conf.GetVoters(), c.cfg.ID) {
		c.cfg.OnEvent(Event{Kind: EventVoter, Term: c.status.Term, Leader: c.status.Leader})
	}
	c.voters = quorum.JointConfig{majority(conf.GetVoters()), majority(conf.GetVotersOutgoing())}
	c.settleLease()
}

func majority(voters []uint64) quorum.MajorityConfig {
	m := make(quorum.MajorityConfig, len(voters))
	for _, id := range voters {
		m[id] = struct{}{}
	}
	return m
}

// applyConf activates a configuration change. The state machine computed the
// same ConfState from the same entry; if raft disagrees the two would count
// different quorums, so the node must not go on. While a snapshot is to be
// installed raft has its members already, and this change was one before them.
func (c *Core) applyConf(e *raftpb.Entry, want *raftpb.ConfState) {
	if c.installing != nil {
		return
	}
	change, err := decodeConfChange(e)
	if err != nil {
		c.fatal = fmt.Errorf("configuration change at index %d: %w", e.GetIndex(), err)
		return
	}
	got := c.rn.ApplyConfChange(change)
	if err := got.Equivalent(want); err != nil {
		c.fatal = fmt.Errorf("raft and the state machine disagree about the members after index %d: %w", e.GetIndex(), err)
		return
	}
	c.storage.confIndex = e.GetIndex()
	c.noteConf(got)
}

func isConfChange(e *raftpb.Entry) bool { return e.GetType() != raftpb.EntryNormal }

func decodeConfChange(e *raftpb.Entry) (raftpb.ConfChangeI, error) {
	if e.GetType() == raftpb.EntryConfChange {
		cc := new(raftpb.ConfChange)
		return cc, proto.Unmarshal(e.GetData(), cc)
	}
	cc := new(raftpb.ConfChangeV2)
	return cc, proto.Unmarshal(e.GetData(), cc)
}
