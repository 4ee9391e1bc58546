package node

import (
	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"
	"go.etcd.io/raft/v3/tracker"
)

// FlushDone reports what the state machine now holds durably; the log behind it
// can go.
func (c *Core) FlushDone(durable *raftpb.SnapshotMetadata) {
	c.flushing = false
	if durable.GetIndex() > 0 {
		c.put(Write{Release: durable, Unneeded: c.unneeded()})
	}
}

// unneeded is the index up to which nobody needs the log: what raft knows to be
// applied here, but what a live follower that is behind, or one that is being
// sent a snapshot, or may come back for the rest of one, has. Without the latter
// a follower whose snapshot takes longer than the log's budget lasts would need
// another one for ever. All that within Config.HeldBytesMax.
func (c *Core) unneeded() uint64 {
	applied := c.rn.BasicStatus().Applied
	index := applied
	if c.rn.BasicStatus().RaftState == raft.StateLeader {
		c.rn.WithProgress(func(id uint64, _ raft.ProgressType, pr tracker.Progress) {
			if c.live(id, pr) {
				index = min(index, max(pr.Match, pr.PendingSnapshot))
			}
		})
		if needed := c.storage.snapshots.Needed(); needed > 0 {
			index = min(index, needed)
		}
	}
	if index == applied || c.heldBytes+c.flushBytes > c.cfg.HeldBytesMax {
		c.heldBytes = 0
		return applied
	}
	c.heldBytes += c.flushBytes
	return index
}

// noteLive remembers when followers were last heard of. Raft forgets that at
// every election timeout and learns it anew with the next heartbeat; in between
// the log of a follower that catches up would be given away.
func (c *Core) noteLive() {
	if c.rn.BasicStatus().RaftState != raft.StateLeader {
		clear(c.heard)
		return
	}
	c.rn.WithProgress(func(id uint64, _ raft.ProgressType, pr tracker.Progress) {
		if pr.RecentActive {
			c.heard[id] = c.tick
		}
	})
}

// live says whether a member was heard of within about an election timeout.
func (c *Core) live(id uint64, pr tracker.Progress) bool {
	tick, ok := c.heard[id]
	return pr.RecentActive || ok && c.tick-tick <= uint64(c.cfg.ElectionTicks)
}
