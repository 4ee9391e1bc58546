package node

import (
	"slices"

	"go.etcd.io/raft/v3/raftpb"
)

// candidacy lets requests for votes leave once the term that they are for is
// durable (invariant 1). Raft sends them while that is being written, and counts
// this member's own vote when it is; but others may elect it without that. What it
// then writes as leader some have and some do not, and should it die before its disk
// has the term, it does not know of it, stands for it again and is elected by those
// who voted for it before: a second log in one term, which its followers cannot tell
// from the first. Besides, a member whose disk hangs is not elected.
type candidacy struct {
	requests []*raftpb.Message
}

// keep takes m, if it is a request for a vote.
func (y *candidacy) keep(m *raftpb.Message) bool {
	if m.GetType() != raftpb.MsgVote {
		return false
	}
	y.requests = append(y.requests, m)
	return true
}

// join lets what was kept follow an append to the log, which has the term: raft makes
// both at once.
func (y *candidacy) join(m *raftpb.Message) {
	m.Responses = append(slices.Clip(m.Responses), y.requests...)
	y.requests = nil
}
