package main

import (
	"fmt"
	"strings"
	"time"

	"raftkv/server"
)

// snapshotLine tells how a snapshot proceeds, in the words of the story.
func snapshotLine(e server.Event) string {
	p := e.Snapshot
	who := "[FOLLOWER]"
	if e.Leading {
		who = "[LEADER]"
	}
	doing, did := "Receiving a snapshot from", "Received a snapshot from"
	if p.Sending {
		doing, did = "Sending a snapshot to", "Sent a snapshot to"
	}
	switch p.Phase {
	case server.SnapshotBegun:
		there := ""
		if had := p.DoneBytes - p.MovedBytes; had >= 1<<20 {
			there = ", " + mebibytes(had) + " are there already"
		}
		return fmt.Sprintf("%s %s node %s... (%s%s)", who, doing, p.Name, mebibytes(p.TotalBytes), there)
	case server.SnapshotDone:
		return fmt.Sprintf("%s %s node %s (%s in %s)", who, did, p.Name, mebibytes(p.TotalBytes), p.Elapsed.Round(100*time.Millisecond))
	case server.SnapshotFailed:
		return fmt.Sprintf("%s %s node %s: broke off at %s of %s", who, doing, p.Name, mebibytes(p.DoneBytes), mebibytes(p.TotalBytes))
	}
	left := ""
	if p.Left > 0 {
		left = ", " + max(p.Left.Round(time.Second), time.Second).String() + " left"
	}
	return fmt.Sprintf("%s %s node %s... (%s of %s, %s/s%s)", who, doing, p.Name,
		strings.TrimSuffix(mebibytes(p.DoneBytes), " MiB"), mebibytes(p.TotalBytes), mebibytes(p.BytesPerSecond), left)
}

func mebibytes(n int64) string { return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20)) }
