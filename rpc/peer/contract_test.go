package peer_test

import (
	"raftkv/node"
	"raftkv/rpc/peer"
	"raftkv/snap"
)

// The rooms do not import each other; what they promise each other is checked
// here.
var (
	_ node.Transport = (*peer.Transport)(nil)
	_ node.Snapshots = (*snap.Store)(nil)
	_ peer.Snapshots = (*snap.Store)(nil)
	_ peer.Handler   = (*node.Node)(nil)
)
