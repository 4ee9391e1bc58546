package node

import (
	"fmt"

	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"
	"go.etcd.io/raft/v3/tracker"
)

// logCount counts log entries; of those found at the start only the bytes.
type logCount struct{ bytes, entries int }

// flushes knows how much log there is that may not be released yet since the
// state machine may not hold it durably.
type flushes struct {
	log logCount
	// half is what of it had been written when half of what makes a flush due
	// was, up to halfIndex; 0: it was not, or it is not known where.
	half      logCount
	halfIndex uint64

	// The flush that was asked for last.
	underWay bool
	asked    logCount
	beyond   logCount // what of it was written behind the index that is enough
	applied  uint64
}

// countLog counts entries handed to the log.
func (c *Core) countLog(entries []*raftpb.Entry, bytes int) {
	if len(entries) == 0 {
		return
	}
	f := &c.flushes
	f.log = logCount{f.log.bytes + bytes, f.log.entries + len(entries)}
	if f.halfIndex == 0 && c.flushDue(logCount{2 * f.log.bytes, 2 * f.log.entries}) {
		f.half, f.halfIndex = f.log, entries[len(entries)-1].GetIndex()
	}
}

func (c *Core) flushDue(log logCount) bool {
	return log.bytes >= c.cfg.FlushBytes || c.cfg.FlushEntries > 0 && log.entries >= c.cfg.FlushEntries
}

// begin returns the index that is enough: a state machine flushes of its own
// accord, too, and if it did so up to the middle, half of the log can go without
// another flush.
func (f *flushes) begin(applied uint64) (enough uint64) {
	enough = f.halfIndex
	f.underWay, f.applied, f.asked = true, applied, f.log
	f.beyond = logCount{f.log.bytes - f.half.bytes, f.log.entries - f.half.entries}
	f.log, f.half, f.halfIndex = logCount{}, logCount{}, 0
	return enough
}

// Flush does what Output.Flush asks for.
func Flush(state StateMachine, enough uint64) (*raftpb.SnapshotMetadata, error) {
	if enough > 0 {
		durable, err := state.Durable()
		if err != nil {
			return nil, fmt.Errorf("read the durable applied index: %w", err)
		}
		if durable.GetIndex() >= enough {
			return durable, nil
		}
	}
	if err := state.Flush(); err != nil {
		return nil, fmt.Errorf("flush the state machine: %w", err)
	}
	durable, err := state.Durable()
	if err != nil {
		return nil, fmt.Errorf("read the durable applied index: %w", err)
	}
	return durable, nil
}

// FlushDone reports what the state machine now holds durably; the log behind it
// can go.
func (c *Core) FlushDone(durable *raftpb.SnapshotMetadata) {
	f := &c.flushes
	f.underWay = false
	if durable.GetIndex() < f.applied { // no flush was needed
		f.asked.bytes -= f.beyond.bytes
		f.log = logCount{f.log.bytes + f.beyond.bytes, f.log.entries + f.beyond.entries}
	}
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
	if index == applied || c.heldBytes+c.flushes.asked.bytes > c.cfg.HeldBytesMax {
		c.heldBytes = 0
		return applied
	}
	c.heldBytes += c.flushes.asked.bytes
	return index
}

// noteLive remembers when followers were last heard of. Raft forgets that at
// every election timeout and learns it anew with the next heartbeat; in between
// the log of a follower that catches up would be given away, and nobody would be
// there to take leadership over.
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
