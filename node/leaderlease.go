package node

import (
	"math"
	"time"

	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/quorum"
	"go.etcd.io/raft/v3/raftpb"
)

// LeaseMessage is what leaders and voters say about leader leases, beside raft's
// messages. It may be lost, duplicated and late.
type LeaseMessage struct {
	To, Term uint64
	// SentAt is when the leader asked, by its own clock; a promise repeats it.
	SentAt time.Duration
	// Length is for how long no other leader is to be elected, from when the
	// promise is made.
	Length time.Duration
	// Promise tells a voter's promise from the leader's question.
	Promise bool
}

// Clocks of two members may differ in their rates by a tenth: a leader takes
// that much off what it was promised.
const (
	rateNumerator   = 9
	rateDenominator = 10
)

// campaignTransfer is what raft puts into the votes of a candidate that its
// leader has told to take over.
const campaignTransfer = "CampaignTransfer"

// leaderLease is what a member has promised as a voter and was promised as a
// leader. The safety argument is in docs/adr/0009-lease-reads.md.
type leaderLease struct {
	// length of what is asked for and promised; 0: neither.
	length time.Duration

	// A voter helps no other leader than that of promisedTerm to win before
	// promisedUntil, by its own clock.
	promisedTerm  uint64
	promisedUntil time.Duration

	// What the leader of term was promised: of each voter the newest question
	// that it answered. until is when the lease ends, by the leader's clock.
	term     uint64
	askedAt  time.Duration
	promises map[uint64]time.Duration
	until    time.Duration
	// givenUp is the last term that this member led and in which it began to hand
	// leadership over.
	givenUp uint64
}

// AckedIndex implements quorum.AckedIndexer.
func (l *leaderLease) AckedIndex(voter uint64) (quorum.Index, bool) {
	at, ok := l.promises[voter]
	return quorum.Index(at), ok
}

// SetLeaderLease says for how long this member promises leaders not to help
// others to win, and asks for that when it leads; 0: not at all. What was
// promised before holds. A promise must survive a restart: before the call
// Config.PromisedFor of the next start is at least as long.
func (c *Core) SetLeaderLease(length time.Duration) {
	if length == c.lease.length {
		return
	}
	c.lease.length = length
	c.lease.term, c.lease.until = 0, 0
	c.askForLease()
}

// askForLease asks the voters for their promises, at each tick of a leader.
func (c *Core) askForLease() {
	l := &c.lease
	basic := c.rn.BasicStatus()
	term := basic.GetTerm()
	if l.length == 0 || basic.RaftState != raft.StateLeader || l.givenUp == term {
		return
	}
	if l.term != term {
		l.term, l.until, l.promises = term, 0, make(map[uint64]time.Duration)
	}
	l.askedAt = c.cfg.Now()
	l.promises[c.cfg.ID] = l.askedAt // while it leads it votes for nobody
	c.eachVoter(func(id, _ uint64, _ bool) {
		if id != c.cfg.ID {
			c.out.Leases = append(c.out.Leases, LeaseMessage{To: id, Term: term, SentAt: l.askedAt, Length: l.length})
		}
	})
	c.settleLease()
}

// StepLease takes a message about leader leases.
func (c *Core) StepLease(from uint64, m LeaseMessage) {
	if m.Promise {
		c.promised(from, m)
		return
	}
	basic := c.rn.BasicStatus()
	l := &c.lease
	if m.Length <= 0 || m.Length > l.length || m.Term != basic.GetTerm() || basic.Lead != from {
		return
	}
	l.promisedTerm, l.promisedUntil = m.Term, max(l.promisedUntil, c.cfg.Now()+m.Length)
	m.To, m.Promise = from, true
	c.out.Leases = append(c.out.Leases, m)
}

// promised notes a voter's promise. Only the newest question of each counts, by
// when it was asked: the promise is at least as young.
func (c *Core) promised(from uint64, m LeaseMessage) {
	l := &c.lease
	if !c.leadsInLeaseTerm() || m.Term != l.term || m.Length != l.length || m.SentAt > l.askedAt {
		return
	}
	l.promises[from] = max(l.promises[from], m.SentAt)
	c.settleLease()
}

func (c *Core) leadsInLeaseTerm() bool {
	basic := c.rn.BasicStatus()
	return c.lease.term != 0 && basic.RaftState == raft.StateLeader && basic.GetTerm() == c.lease.term && c.lease.givenUp != c.lease.term
}

// settleLease computes when the lease ends: by what a quorum of the voters as
// they are now has promised.
func (c *Core) settleLease() {
	l := &c.lease
	l.until = 0
	if !c.leadsInLeaseTerm() {
		return
	}
	since := c.voters.CommittedIndex(l)
	if since != 0 && since != math.MaxUint64 {
		l.until = time.Duration(since) + l.length/rateDenominator*rateNumerator
	}
}

// leased says whether this member leads and has had a lease, which may be over.
func (c *Core) leased() bool {
	return c.lease.until != 0 && c.leadsInLeaseTerm() && c.appliedTerm == c.lease.term
}

// leaseHolds says whether nobody else can have been elected by now: a moment
// within the call, so that a read which came before the call is answered by
// the state as it was then, however late that answer leaves. An entry of the
// leader's own term has to be committed, as for every round of reads.
func (c *Core) leaseHolds() bool {
	return c.leased() && c.cfg.Now() < c.lease.until
}

// giveUpLease ends the lease for the rest of the term: who is told to take over
// is elected whatever was promised, and the word may arrive when this member
// has long given the transfer up.
func (c *Core) giveUpLease() {
	c.lease.givenUp, c.lease.until = c.rn.BasicStatus().GetTerm(), 0
}

// promiseLeft is for how long this member's promise still holds.
func (c *Core) promiseLeft() time.Duration {
	if c.lease.promisedUntil == 0 {
		return 0
	}
	left := c.lease.promisedUntil - c.cfg.Now()
	if left <= 0 {
		c.lease.promisedUntil = 0
	}
	return max(left, 0)
}

// breaksPromise says whether raft must not see m: it would make this member
// vote for another leader, or lead itself. The votes of a transfer pass, since
// the leader that ordered it has given its lease up.
func (c *Core) breaksPromise(m *raftpb.Message) bool {
	switch m.GetType() {
	case raftpb.MsgVote, raftpb.MsgPreVote:
		return m.GetTerm() > c.lease.promisedTerm && string(m.GetContext()) != campaignTransfer && c.promiseLeft() > 0
	case raftpb.MsgPreVoteResp:
		return !m.GetReject() && c.promiseLeft() > 0
	}
	return false
}

// tickRaft lets a tick pass for raft. Without PreVote a tick can make a
// candidate, so a member that has made a promise does not tick. The ticks that
// the start of a member skips are skipped only once an election may follow.
func (c *Core) tickRaft() {
	if (c.cfg.NoPreVote || c.skipTicks > 0) && c.rn.BasicStatus().RaftState == raft.StateFollower && c.promiseLeft() > 0 {
		return
	}
	for ; c.skipTicks > 0 && c.rn.BasicStatus().Lead == raft.None; c.skipTicks-- {
		c.rn.Tick()
	}
	c.skipTicks = 0
	c.rn.Tick()
}
