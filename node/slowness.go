package node

import "sync/atomic"

// Slowness counts what a member did because it, or another, was slow.
type Slowness struct {
	// AcksHeld are acknowledgements that it held back as a follower, because it was
	// behind with applying.
	AcksHeld uint64
	// TicksWaited are the ticks in which it had something to propose as leader, and
	// left it for the next because a member was behind.
	TicksWaited uint64
	// DiskTransfers is how often it began to hand leadership over because its disk
	// did not finish an append.
	DiskTransfers uint64
}

// slowness is Slowness as it is counted by the loop, and read from anywhere.
type slowness struct{ acksHeld, ticksWaited, diskTransfers atomic.Uint64 }

// Slowness returns the counts since the start.
func (c *Core) Slowness() Slowness {
	return Slowness{
		AcksHeld: c.slowness.acksHeld.Load(), TicksWaited: c.slowness.ticksWaited.Load(), DiskTransfers: c.slowness.diskTransfers.Load(),
	}
}
