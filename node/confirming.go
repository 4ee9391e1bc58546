package node

import (
	"slices"

	"go.etcd.io/raft/v3/raftpb"
)

// confirming chooses which followers a leader asks to confirm its leadership for
// reads. Raft asks all of them, though with the leader's own word a quorum's is
// enough; so only the quickest are asked, as many as that takes.
//
// The heartbeats of a tick go to everybody. They repeat what is not confirmed yet,
// and who answers them first is asked until the next one: a follower that is gone
// holds reads up for one tick at most.
type confirming struct {
	voters []uint64
	// enough followers make a quorum with the leader; 0: all are asked.
	enough int
	// quick are those that answered since the last tick, in that order.
	quick []uint64
	// ticked: what is being sent belongs to a tick.
	ticked bool
}

func (f *confirming) configure(self uint64, conf *raftpb.ConfState) {
	f.voters, f.enough, f.quick = conf.GetVoters(), 0, nil
	if len(conf.GetVotersOutgoing()) == 0 && slices.Contains(f.voters, self) {
		f.enough = len(f.voters) / 2
	}
}

// tick forgets who was quick, which is found out by what is sent next.
func (f *confirming) tick() { f.quick, f.ticked = f.quick[:0], true }

// answered notes an answer to a heartbeat.
func (f *confirming) answered(id uint64) {
	if slices.Contains(f.voters, id) && !slices.Contains(f.quick, id) {
		f.quick = append(f.quick, id)
	}
}

// lost notes that messages to a follower were lost: everybody is asked again
// until it is known who answers.
func (f *confirming) lost() { f.quick = f.quick[:0] }

// spares says whether a heartbeat need not be sent.
func (f *confirming) spares(m *raftpb.Message) bool {
	return len(m.GetContext()) > 0 && !f.ticked && f.enough > 0 && len(f.quick) >= f.enough &&
		!slices.Contains(f.quick[:f.enough], m.GetTo())
}
