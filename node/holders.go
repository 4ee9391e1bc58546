package node

import (
	"slices"
	"sync/atomic"

	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/tracker"
)

// HolderCount follows how many members hold the log up to an index durably.
type HolderCount struct {
	index  uint64
	counts atomic.Uint64 // have<<32 | total
	done   chan struct{}
	closed bool // owned by the loop
	gone   atomic.Bool
}

// Done is closed when every member holds the index, or when this member cannot
// know because it does not lead.
func (h *HolderCount) Done() <-chan struct{} { return h.done }

// Counts returns the members that hold the index and all members; 0 and 0 if
// this member does not lead.
func (h *HolderCount) Counts() (have, total int) {
	v := h.counts.Load()
	return int(v >> 32), int(uint32(v))
}

// Cancel ends the interest in h.
func (h *HolderCount) Cancel() { h.gone.Store(true) }

// NewHolderCount makes a count to be given to AddHolderCount.
func NewHolderCount(index uint64) *HolderCount {
	return &HolderCount{index: index, done: make(chan struct{})}
}

// AddHolderCount starts to count. Only the leader knows; elsewhere h is done at
// once with 0 of 0.
func (c *Core) AddHolderCount(h *HolderCount) { c.holders = append(c.holders, h) }

// countHolders updates every count. A member holds an index once it has
// acknowledged an append of it, which it does after its fsync (invariant 1), and
// later than that while it is behind with applying.
func (c *Core) countHolders() {
	if len(c.holders) == 0 {
		return
	}
	leading := c.rn.BasicStatus().RaftState == raft.StateLeader
	c.holders = slices.DeleteFunc(c.holders, func(h *HolderCount) bool {
		have, total := 0, 0
		if leading {
			c.rn.WithProgress(func(_ uint64, _ raft.ProgressType, pr tracker.Progress) {
				total++
				if pr.Match >= h.index {
					have++
				}
			})
		}
		h.counts.Store(uint64(have)<<32 | uint64(total))
		if have == total && !h.closed {
			h.closed = true
			close(h.done)
		}
		return h.closed || h.gone.Load()
	})
}
