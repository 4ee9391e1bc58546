package node

import (
	"testing"
	"time"
)

// crash cuts a member off and tells the others that its connections broke.
func (c *cluster) crash(id uint64) {
	c.cut[id] = true
	for other, m := range c.members {
		if other != id {
			m.core.PeerDown(id)
		}
	}
	c.settle()
}

// campaign lets the pause of a member pass and returns how long it was.
func (c *cluster) campaign(id uint64) time.Duration {
	m := c.members[id]
	d := m.campaign
	m.campaign = 0
	m.core.CampaignDue()
	c.settle()
	return d
}

func TestFollowersElectWithoutWaitingForTheTimeout(t *testing.T) {
	c := newCluster(t, 3, nil)
	old := c.elect()
	first := other(3, old)
	p := c.propose(first, "x")
	c.settle()
	if _, ok := result(p); !ok {
		t.Fatal("no answer before the crash")
	}
	c.crash(old)
	p = c.propose(first, "y")
	c.settle()
	if d := c.campaign(first); d <= 0 || d > campaignFirstMax {
		t.Fatalf("paused %v before the first campaign, want at most %v", d, campaignFirstMax)
	}
	if got := c.members[first].core.Status().Role; got != Leader {
		t.Fatalf("%v after the first campaign, want LEADER: no tick has passed", got)
	}
	if r, ok := result(p); !ok || r.Err != nil {
		t.Fatalf("a command during the failover: %+v answered=%v", r, ok)
	}
	// The other follower's pause ends later, and it has a leader by then.
	second := other(3, old, first)
	c.campaign(second)
	if c.members[second].campaign != 0 || c.members[second].core.Status().Leader != first {
		t.Fatal("a follower with a leader goes on campaigning")
	}
}

func TestFailoverKeepsTryingWithoutAQuorum(t *testing.T) {
	c := newCluster(t, 3, nil)
	old := c.elect()
	first := other(3, old)
	c.cut[other(3, old, first)] = true
	c.crash(old)
	c.campaign(first)
	for base := campaignBase; base < campaignBase<<campaignDoublesMax; base *= 2 {
		if d := c.campaign(first); d < base/2 || d > 2*base {
			t.Fatalf("paused %v before the next campaign, want %v to %v", d, base/2, 2*base)
		}
	}
	c.tick(25)
	c.campaign(first)
	if c.members[first].campaign != 0 {
		t.Fatal("still campaigning beside the election timeout")
	}
}

func TestOneBrokenConnectionDeposesNobody(t *testing.T) {
	c := newCluster(t, 3, nil)
	leader := c.elect()
	term := c.members[leader].core.Status().Term
	follower := other(3, leader)
	c.members[follower].core.PeerDown(leader)
	c.settle()
	c.campaign(follower)
	c.tick(3)
	if s := c.members[follower].core.Status(); s.Leader != leader || s.Term != term {
		t.Fatalf("leader %d term %d, want %d and %d", s.Leader, s.Term, leader, term)
	}
	c.campaign(follower) // the pause that was under way when the leader was found
	c.members[follower].core.PeerDown(other(3, leader, follower))
	c.settle()
	if c.members[follower].campaign != 0 {
		t.Fatal("campaigns because another follower went away")
	}
}

// TestWithoutPreVote has followers wait for the election timeout, and a member
// that is cut off raise the term in vain, which one that asks first does not.
func TestWithoutPreVote(t *testing.T) {
	for _, without := range []bool{false, true} {
		c := newCluster(t, 3, func(cfg *Config) { cfg.NoPreVote = without })
		leader := c.elect()
		term := c.members[leader].core.Status().Term
		lonely := other(3, leader)
		c.cut[lonely] = true
		c.tick(60)
		if raised := c.members[lonely].core.Status().Term > term; raised != without {
			t.Errorf("without PreVote %v: the term was raised: %v", without, raised)
		}
		if without {
			rest := other(3, leader, lonely)
			c.crash(leader)
			if c.members[rest].campaign != 0 {
				t.Error("a member campaigns at once without having asked")
			}
		}
	}
}
