package main

import (
	"errors"
	"testing"
	"time"

	"raftkv/rpc/peer"
	"raftkv/server"
)

func TestSnapshotLine(t *testing.T) {
	const mib = 1 << 20
	event := func(leading bool, p peer.SnapshotProgress) server.Event {
		return server.Event{Leading: leading, Snapshot: &server.SnapshotEvent{SnapshotProgress: p, Name: "2"}}
	}
	for want, e := range map[string]server.Event{
		"[LEADER] Sending a snapshot to node 2... (256.0 MiB)": event(true, peer.SnapshotProgress{
			Sending: true, Phase: peer.SnapshotBegun, TotalBytes: 256 * mib, DoneBytes: 100}),
		"[FOLLOWER] Receiving a snapshot from node 2... (256.0 MiB, 64.0 MiB are there already)": event(false, peer.SnapshotProgress{
			Phase: peer.SnapshotBegun, TotalBytes: 256 * mib, DoneBytes: 64 * mib}),
		"[FOLLOWER] Receiving a snapshot from node 2... (96.0 of 256.0 MiB, 32.0 MiB/s, 5s left)": event(false, peer.SnapshotProgress{
			Phase: peer.SnapshotMoving, TotalBytes: 256 * mib, DoneBytes: 96 * mib, MovedBytes: 32 * mib, BytesPerSecond: 32 * mib, Left: 5 * time.Second}),
		"[LEADER] Sending a snapshot to node 2: broke off at 96.0 MiB of 256.0 MiB": event(true, peer.SnapshotProgress{
			Sending: true, Phase: peer.SnapshotFailed, Err: errors.New("x"), TotalBytes: 256 * mib, DoneBytes: 96 * mib}),
		"[LEADER] Sent a snapshot to node 2 (256.0 MiB in 8.3s)": event(true, peer.SnapshotProgress{
			Sending: true, Phase: peer.SnapshotDone, TotalBytes: 256 * mib, DoneBytes: 256 * mib, Elapsed: 8321 * time.Millisecond}),
	} {
		if got := snapshotLine(e); got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
	}
}
