package client

import (
	"context"
	"time"
)

// SkipPauses makes c try its endpoints again without waiting, and calls f
// before each new round.
func (c *Client) SkipPauses(f func()) {
	c.pause = func(ctx context.Context, _ time.Duration) error {
		f()
		return ctx.Err()
	}
}

// RoundsMax is how often a list of endpoints is tried at most.
const RoundsMax = roundsMax
