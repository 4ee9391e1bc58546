package node

import (
	"time"

	"go.etcd.io/raft/v3"
)

// Pauses before a follower campaigns after the connection to its leader broke:
// a first one, random so that votes do not split; then, while there is no
// leader, half to twice a base that doubles from campaignBase on. A campaign
// makes raft forget the votes of the one before, so pauses must outgrow the
// time that votes take, which is not known: two round trips and an fsync.
const (
	campaignFirstMax   = 30 * time.Millisecond
	campaignBase       = 60 * time.Millisecond
	campaignDoublesMax = 4
)

// PeerDown tells that another member closed its connection, as a process does
// that dies. If it was the leader there is no point in waiting for the election
// timeout: this member forgets it, so that it grants votes at once, and
// campaigns by PreVote after a short pause. A live leader behind a broken
// connection keeps its quorum, and nothing happens. What was promised to a
// leader holds all the same, and the pause is as much longer: a leader that
// closed a connection may live, and count on it.
func (c *Core) PeerDown(id uint64) {
	basic := c.rn.BasicStatus()
	if id == raft.None || basic.Lead != id || id == c.cfg.ID || c.learner || c.cfg.NoPreVote {
		return
	}
	if err := c.rn.ForgetLeader(); err != nil {
		c.cfg.Logger.Sugar().Warnf("raft does not forget leader %x: %v", id, err)
		return
	}
	c.failover(c.promiseLeft() + c.cfg.Jitter(campaignFirstMax))
}

// failover begins to campaign after a pause, for about two election timeouts.
func (c *Core) failover(pause time.Duration) {
	c.failoverUntil = c.tick + uint64(pause/c.cfg.TickInterval) + uint64(2*c.cfg.ElectionTicks)
	c.campaigns = 0
	c.campaignIn(pause)
}

// campaignIn asks the driver to call CampaignDue, unless a call is under way.
func (c *Core) campaignIn(d time.Duration) {
	if !c.campaigning {
		c.campaigning = true
		c.out.CampaignAfter = max(d, 1)
	}
}

// CampaignDue is called when Output.CampaignAfter has passed. It campaigns and
// asks to be called again, until there is a leader or the ordinary election
// timeout has taken over.
func (c *Core) CampaignDue() {
	c.campaigning = false
	if c.rn.BasicStatus().Lead != raft.None || c.tick >= c.failoverUntil {
		return
	}
	if left := c.promiseLeft(); left > 0 {
		c.campaignIn(left)
		return
	}
	// Raft refuses while a committed configuration change is not applied; the
	// next round may do better.
	if err := c.rn.Campaign(); err != nil {
		c.cfg.Logger.Sugar().Infof("raft does not campaign: %v", err)
	}
	base := campaignBase << min(c.campaigns, campaignDoublesMax)
	c.campaigns++
	c.campaignIn(base/2 + c.cfg.Jitter(base*3/2))
}
