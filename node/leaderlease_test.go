package node

import (
	"testing"
	"time"

	"go.etcd.io/raft/v3/raftpb"
)

const leaseLength = 500 * time.Millisecond

// leased is a cluster of n with leader leases, and its leader, which holds one.
func leased(t *testing.T, n int, tune func(*Config)) (*cluster, uint64) {
	c := newCluster(t, n, tune)
	leader := c.elect()
	for _, m := range c.members {
		m.core.SetLeaderLease(leaseLength)
	}
	c.tick(1)
	if !c.byLease(leader) {
		t.Fatal("the leader has no lease")
	}
	return c, leader
}

// byLease has a member read and reports whether its own lease answered: before
// any other member has done anything.
func (c *cluster) byLease(id uint64) bool {
	core := c.members[id].core
	before := core.confirmed.byLease.Load()
	round, _, _ := core.Read()
	c.round(id)
	answered := core.confirmed.byLease.Load() > before
	select {
	case <-round.Done():
		if len(c.members) > 1 && !answered {
			c.t.Error("a read was answered without a lease and without a round")
		}
	default:
		if answered {
			c.t.Error("a lease confirmed a read that was not answered")
		}
	}
	return answered
}

func (c *cluster) read(id uint64) *ReadRound {
	round, _, err := c.members[id].core.Read()
	if err != nil {
		c.t.Fatal(err)
	}
	c.settle()
	return round
}

func answered(r *ReadRound) bool {
	select {
	case <-r.Done():
		return true
	default:
		return false
	}
}

func TestALeaseAnswersReadsWithoutARound(t *testing.T) {
	c, leader := leased(t, 3, nil)
	follower := other(3, leader)
	if r, ok := result(c.proposed(follower, "x")); !ok || r.Err != nil {
		t.Fatal("no answer")
	}
	core := c.members[leader].core
	before, rounds := core.confirmed.byLease.Load(), core.confirmed.byQuorum.Load()
	if !answered(c.read(follower)) || !answered(c.read(leader)) {
		t.Fatal("a read was not answered")
	}
	if got := core.confirmed.byLease.Load() - before; got != 2 || core.confirmed.byQuorum.Load() != rounds {
		t.Fatalf("%d reads by the lease, %d by a quorum, want both by the lease", got, core.confirmed.byQuorum.Load()-rounds)
	}
	c.tick(1)
	if !core.Status().Lease || c.members[follower].core.Status().Lease {
		t.Error("the status does not tell who has a lease")
	}
}

func (c *cluster) proposed(id uint64, command string) *Pending {
	p := c.propose(id, command)
	c.settle()
	return p
}

// A leader that stood still counts on nothing that it was promised before, also
// if it has heard of nobody since, and its ticks did not go on.
func TestALeaderThatWasPausedHasNoLease(t *testing.T) {
	c, old := leased(t, 3, nil)
	c.now += leaseLength*9/10 - 1
	if !c.byLease(old) {
		t.Fatal("the lease has ended early")
	}
	c.now++
	if c.byLease(old) {
		t.Fatal("the lease outlived what was promised, less the margin")
	}
	c.cut[old] = true
	paused := c.members[old].core
	for c.members[old].core == paused && c.leaderAmong(old) == 0 {
		c.now += 100 * time.Millisecond
		for id, m := range c.members {
			if id != old {
				m.core.Tick()
			}
		}
		c.settle()
	}
	if c.byLease(old) {
		t.Fatal("a leader that was replaced while it was paused has answered")
	}
}

// leaderAmong returns who leads, but for one.
func (c *cluster) leaderAmong(but uint64) uint64 {
	for id, m := range c.members {
		if id != but && m.core.Status().Role == Leader {
			return id
		}
	}
	return 0
}

// A lease is measured from when the leader asked, not from when the promises came.
func TestALateCompletedLeaseIsShort(t *testing.T) {
	c, leader := leased(t, 3, nil)
	var late []func()
	c.leases = func(from uint64, m LeaseMessage) bool {
		if m.Promise {
			late = append(late, func() { c.members[m.To].core.StepLease(from, m) })
		}
		return !m.Promise
	}
	c.now += time.Second
	c.tick(1)
	c.now += leaseLength
	for _, arrive := range late {
		arrive()
	}
	if len(late) == 0 || c.byLease(leader) {
		t.Fatalf("%d promises that came late made a lease", len(late))
	}
}

// Who has promised helps nobody to win until the promise has run out, although it
// has been told that the leader is gone; then it does so at once.
func TestAPromiseOutlivesTheConnection(t *testing.T) {
	c, old := leased(t, 3, nil)
	first := other(3, old)
	second := other(3, old, first)
	c.now += 100 * time.Millisecond
	c.crash(old)
	m := c.members[first]
	if m.campaign < leaseLength-100*time.Millisecond || m.campaign > leaseLength+campaignFirstMax {
		t.Fatalf("a pause of %v, want what is left of the promise and a little", m.campaign)
	}
	c.campaign(first) // too early: the pause has not passed
	if m.campaign == 0 || c.members[first].core.Status().Role == Leader {
		t.Fatal("campaigned against its promise")
	}
	// A candidate that has made no promise finds no votes.
	c.members[second].core.lease.promisedUntil = 0
	c.campaign(second)
	if c.leaderAmong(old) != 0 {
		t.Fatal("a vote against a promise")
	}
	c.now += leaseLength
	c.campaign(first)
	if got := c.leaderAmong(old); got != first {
		t.Fatalf("member %d leads once the promises have run out, want %d", got, first)
	}
}

// Real votes are held back as well as those that only ask.
func TestAPromiseHoldsAgainstACandidateOfAHigherTerm(t *testing.T) {
	for _, transfer := range []bool{false, true} {
		c, leader := leased(t, 3, nil)
		voter := c.members[other(3, leader)].core
		candidate := other(3, leader, other(3, leader))
		c.crash(leader) // the voter has no leader any more
		vote := &raftpb.Message{
			Type: raftpb.MsgVote.Enum(), From: new(candidate), To: new(other(3, leader)), Term: new(voter.Status().Term + 1),
			Index: new(uint64(100)), LogTerm: new(voter.Status().Term),
		}
		if transfer {
			vote.Context = []byte(campaignTransfer)
		}
		voter.Step(vote)
		granted := false
		for _, w := range voter.Output().Writes {
			for _, m := range w.Responses {
				granted = granted || m.GetType() == raftpb.MsgVoteResp && !m.GetReject()
			}
		}
		if granted != transfer {
			t.Errorf("transfer %v: granted %v", transfer, granted)
		}
	}
}

// From the beginning of a transfer on all reads of the term need a round, also
// when nothing comes of it; the next term has a lease again.
func TestATransferEndsTheLeaseOfTheTerm(t *testing.T) {
	for name, begin := range map[string]func(core *Core, to uint64){
		"to the best":    func(core *Core, _ uint64) { core.TransferLeader() },
		"to a member":    func(core *Core, to uint64) { core.TransferTo(to) },
		"for a follower": func(core *Core, to uint64) { core.Step(transferWish(core, to)) },
	} {
		t.Run(name, func(t *testing.T) {
			c, leader := leased(t, 3, nil)
			to := other(3, leader)
			for id := range c.members {
				c.cut[id] = true // the word does not arrive
			}
			begin(c.members[leader].core, to)
			if c.byLease(leader) {
				t.Fatal("a lease beside a transfer")
			}
			clear(c.cut)
			c.tick(c.members[leader].core.cfg.ElectionTicks + 2)
			if s := c.members[leader].core.Status(); s.Role != Leader {
				t.Fatal("the transfer was to come to nothing")
			}
			if c.byLease(leader) {
				t.Fatal("a lease after a transfer that came to nothing")
			}
			if !answered(c.read(leader)) {
				t.Fatal("no read by a round")
			}
			c.members[leader].core.TransferTo(to)
			c.settle()
			c.tick(2)
			if c.members[to].core.Status().Role != Leader || !c.byLease(to) {
				t.Fatal("the next leader has no lease")
			}
		})
	}
}

func transferWish(core *Core, to uint64) *raftpb.Message {
	return &raftpb.Message{Type: raftpb.MsgTransferLeader.Enum(), From: new(to), To: new(core.cfg.ID), Term: new(core.Status().Term)}
}

// While members learn one after the other that leases are on, a leader has one
// only if a quorum says so; when they are switched off, promises hold.
func TestTheSwitchInFlight(t *testing.T) {
	c := newCluster(t, 5, nil)
	leader := c.elect()
	others := []uint64{other(5, leader), other(5, leader, other(5, leader))}
	for _, id := range append([]uint64{leader}, others...) {
		if c.tick(1); c.byLease(leader) {
			t.Fatal("a lease without a quorum of promises")
		}
		c.members[id].core.SetLeaderLease(leaseLength)
	}
	if c.tick(1); !c.byLease(leader) {
		t.Fatal("no lease from a quorum")
	}
	// A leader that asks for more than a voter would keep gets nothing.
	c.members[leader].core.SetLeaderLease(2 * leaseLength)
	if c.tick(1); c.byLease(leader) {
		t.Fatal("a lease that is longer than the promises")
	}
	c.members[leader].core.SetLeaderLease(leaseLength)
	if c.tick(1); !c.byLease(leader) {
		t.Fatal("no lease from a quorum")
	}
	voter := c.members[others[0]].core
	voter.SetLeaderLease(0)
	if voter.promiseLeft() == 0 {
		t.Fatal("a promise was forgotten when leases were switched off")
	}
	c.now += leaseLength
	if c.tick(1); c.byLease(leader) || voter.promiseLeft() != 0 {
		t.Fatal("promises go on after leases were switched off")
	}
	c.members[leader].core.SetLeaderLease(0)
	if !answered(c.read(leader)) || !answered(c.read(others[1])) {
		t.Fatal("no reads by rounds")
	}
}

// A lease counts the voters of now, not those of when it was promised.
func TestALeaseNeedsAQuorumOfTodaysVoters(t *testing.T) {
	c, leader := leased(t, 3, nil)
	core := c.members[leader].core
	core.voters[0] = majority([]uint64{1, 2, 3, 4, 5})
	c.cut[other(3, leader)] = true
	core.lease.promises = map[uint64]time.Duration{}
	if c.tick(1); c.byLease(leader) {
		t.Fatal("a lease from two of five")
	}
}

// What an earlier life may have promised holds after a restart, also for a member
// that could elect itself.
func TestARestartKeepsPromises(t *testing.T) {
	for _, voters := range []int{1, 3} {
		c := newCluster(t, voters, func(cfg *Config) {
			cfg.InitialTickAdvance = true
			cfg.PromisedFor = leaseLength
		})
		c.settle()
		c.campaign(1)
		for range int(leaseLength/(100*time.Millisecond)) - 1 {
			c.tick(1)
			c.campaign(1)
			if c.leaderAmong(0) != 0 {
				t.Fatalf("%d voters: a leader %v after the start", voters, c.now-time.Hour)
			}
		}
		c.now += 100 * time.Millisecond
		c.campaign(1)
		c.tick(c.members[1].core.cfg.ElectionTicks + 2)
		if c.leaderAmong(0) == 0 {
			t.Fatalf("%d voters: no leader %v after the start", voters, c.now-time.Hour)
		}
	}
}

// Without PreVote a tick alone makes a candidate.
func TestAPromiseHoldsWithoutPreVote(t *testing.T) {
	c, old := leased(t, 3, func(cfg *Config) { cfg.NoPreVote = true; cfg.ElectionTicks = 3 })
	term := c.members[old].core.Status().Term
	c.cut[old] = true
	for range int(leaseLength/(100*time.Millisecond)) - 1 {
		c.tick(1)
		for id, m := range c.members {
			if m.core.Status().Term != term {
				t.Fatalf("member %d campaigned against its promise", id)
			}
		}
	}
	c.tick(12)
	if c.leaderAmong(old) == 0 {
		t.Fatal("no leader when the promises had run out")
	}
}

// Drifting clocks: a leader whose clock is slower than its voters' by less than
// the margin has no lease any more when they may vote.
func TestTheMarginCoversTheDriftOfClocks(t *testing.T) {
	c, leader := leased(t, 3, nil)
	// From now on the leader's clock goes at 0.91 of the voters' rate.
	c.now += leaseLength
	c.skew[leader] -= leaseLength * 9 / 100
	for id, m := range c.members {
		if id != leader && m.core.promiseLeft() > 0 {
			t.Fatal("a promise has not run out")
		}
	}
	if c.byLease(leader) {
		t.Fatal("the lease outlives the promises")
	}
}
