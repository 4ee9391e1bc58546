package node

import (
	"time"

	"go.etcd.io/raft/v3/raftpb"
)

// Output is what the core wants done. Writes go to the log in order, Applies to
// the state machine in order; messages may be sent at once.
type Output struct {
	Messages []*raftpb.Message
	Leases   []LeaseMessage
	Forwards []Forward
	Writes   []Write
	Applies  []Apply
	// Flush asks for StateMachine.Flush, unless FlushedEnough is not 0 and the
	// state machine is durable up to it already; answered by FlushDone.
	Flush         bool
	FlushedEnough uint64
	// CampaignAfter, if not 0, asks for a call of CampaignDue after that time.
	CampaignAfter time.Duration
	// CommitsAfter, if not 0, asks for a call of CommitsDue after that time.
	CommitsAfter time.Duration
}

// Forward is a packed batch for the leader.
type Forward struct {
	To    uint64
	Batch []byte
}

// Write is one task of the log writer. Exactly one of Append, Reset and Release
// describes it.
type Write struct {
	// HardState and Entries of an append, with the messages that may leave only
	// once they are durable (invariant 1).
	HardState *raftpb.HardState
	Entries   []*raftpb.Entry
	Responses []*raftpb.Message
	// Reset restarts the log behind this installed snapshot, then appends.
	Reset *raftpb.SnapshotMetadata
	// Release gives log space back.
	Release  *raftpb.SnapshotMetadata
	Unneeded uint64
}

// Apply is one task of the applier: entries, or a snapshot to install.
type Apply struct {
	// Entries to apply; only the last can be a configuration change.
	Entries []*raftpb.Entry
	// Install names a snapshot that replaces the state.
	Install *raftpb.Snapshot
	// Responses are handed back with ApplyDone.
	Responses []*raftpb.Message
}
