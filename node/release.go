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
		c.out.Writes = append(c.out.Writes, Write{Release: durable, Unneeded: c.unneeded()})
	}
}

// heldReleasesMax bounds how long the log is kept for one slow follower, in
// releases, each of which comes after Config.FlushBytes of log.
const heldReleasesMax = 8

// unneeded is the index up to which nobody needs the log: what raft knows to be
// applied here, but what a live follower that is behind, or is being sent a
// snapshot, has. Without the latter a follower whose snapshot takes longer than
// the log's budget lasts would need another one for ever.
func (c *Core) unneeded() uint64 {
	applied := c.rn.BasicStatus().Applied
	index := applied
	c.rn.WithProgress(func(_ uint64, _ raft.ProgressType, pr tracker.Progress) {
		if pr.RecentActive {
			index = min(index, max(pr.Match, pr.PendingSnapshot))
		}
	})
	if index == applied || c.heldReleases >= heldReleasesMax {
		c.heldReleases = 0
		return applied
	}
	c.heldReleases++
	return index
}
