package node

import "go.etcd.io/raft/v3"

// Role is what raft makes of a member at a moment.
type Role uint8

// Roles. A member that only asks whether an election could succeed (PreVote)
// is still a follower to the outside.
const (
	Follower Role = iota
	Candidate
	Leader
	Learner
)

func (r Role) String() string {
	return [...]string{"FOLLOWER", "CANDIDATE", "LEADER", "LEARNER"}[r]
}

// EventKind names what an Event tells.
type EventKind uint8

// Events of a member's life.
const (
	EventCandidate  EventKind = iota // an election for Term starts
	EventElected                     // this member leads Term
	EventLeader                      // Leader leads Term
	EventLeaderLost                  // no leader is known
	EventCatchingUp                  // Entries log entries are missing
	EventCaughtUp                    // and now they are applied
	EventVoter                       // this member was a learner and votes now
)

// Event is one line of the story that a member's console tells.
type Event struct {
	Kind    EventKind
	Term    uint64
	Leader  uint64
	Entries uint64
}

// Status is a member's view of itself.
type Status struct {
	ID      uint64
	Role    Role
	Term    uint64
	Leader  uint64 // 0 while none is known
	First   uint64 // first and last durable log entry
	Last    uint64
	Commit  uint64
	Applied uint64
	// Lease says whether this member held a leader lease at its last tick.
	Lease bool
	// LeaderChanges counts the leaders seen since the start.
	LeaderChanges uint64
}

func roleOf(state raft.StateType, learner bool) Role {
	switch {
	case state == raft.StateLeader:
		return Leader
	case state == raft.StateCandidate:
		return Candidate
	case learner:
		return Learner
	}
	return Follower
}

// observe compares raft's soft state with what was last told and tells the
// difference.
func (c *Core) observe() {
	basic := c.rn.BasicStatus()
	role, term, leader := roleOf(basic.RaftState, c.learner), basic.GetTerm(), basic.Lead
	if role == Candidate && (c.status.Role != Candidate || c.status.Term != term) {
		c.cfg.OnEvent(Event{Kind: EventCandidate, Term: term})
	}
	if leader != c.status.Leader || (leader != 0 && term != c.status.Term) {
		switch {
		case leader == c.cfg.ID:
			c.cfg.OnEvent(Event{Kind: EventElected, Term: term, Leader: leader})
		case leader != 0:
			c.cfg.OnEvent(Event{Kind: EventLeader, Term: term, Leader: leader})
		case role != Candidate:
			c.cfg.OnEvent(Event{Kind: EventLeaderLost, Term: term})
		}
		if leader != 0 && term != c.leaderTerm {
			c.leaderTerm = term // a term has one leader, also if it was forgotten meanwhile
			c.status.LeaderChanges++
		}
	}
	c.status.ID, c.status.Role, c.status.Term, c.status.Leader = c.cfg.ID, role, term, leader
	c.status.Commit, c.status.Applied = basic.GetCommit(), c.applied
	// Neither call can fail: both only look at the log's tail in memory.
	c.status.First, _ = c.log.FirstIndex()
	c.status.Last, _ = c.log.LastIndex()
	c.observeProgress()
}

// observeProgress tells when a follower has fallen behind what its leader has
// committed, and when it has applied that.
func (c *Core) observeProgress() {
	if c.status.Role == Leader || c.status.Role == Candidate {
		c.catchUpTo = 0
		return
	}
	switch {
	case c.catchUpTo == 0 && c.leaderCommit > c.applied && c.leaderCommit-c.applied >= c.cfg.CatchUpEntries:
		c.catchUpTo = c.leaderCommit
		c.cfg.OnEvent(Event{Kind: EventCatchingUp, Term: c.status.Term, Leader: c.status.Leader, Entries: c.leaderCommit - c.applied})
	case c.catchUpTo != 0 && c.applied >= c.catchUpTo:
		c.catchUpTo = 0
		c.cfg.OnEvent(Event{Kind: EventCaughtUp, Term: c.status.Term, Leader: c.status.Leader})
	}
}
