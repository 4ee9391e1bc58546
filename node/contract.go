package node

import (
	"go.etcd.io/raft/v3/raftpb"
)

// Log is the durable raft log of one member. Its reading half is the part of
// raft.Storage that concerns entries; its writing half is called by the log
// writer alone.
//
// Concurrency: the reading methods may be called at any time from the loop,
// also while a write is under way. Writing methods are never called
// concurrently with each other.
//
// Ownership: entries handed to Append belong to the log from then on and are
// never changed by anybody; slices returned by Entries belong to the caller,
// the entries in them do not.
//
// Failure: an error of a writing method is final. The caller stops the node;
// it never retries and never calls another writing method but Close.
type Log interface {
	// InitialState returns what was durable when the log was opened: the
	// HardState (with Commit raised to the applied index of the state machine)
	// and the ConfState of the state machine.
	InitialState() (*raftpb.HardState, *raftpb.ConfState, error)
	// Entries returns entries [lo, hi), at most maxBytes of them but at least
	// one. raft.ErrCompacted and raft.ErrUnavailable as in raft.Storage.
	Entries(lo, hi, maxBytes uint64) ([]*raftpb.Entry, error)
	// Term returns the term of entry i, FirstIndex()-1 <= i <= LastIndex().
	Term(i uint64) (uint64, error)
	FirstIndex() (uint64, error)
	LastIndex() (uint64, error)

	// Append makes hs (nil: unchanged) and entries durable, with one fsync if
	// either has anything that must survive (entries, a term or a vote), and
	// only then makes the entries readable. Entries at or above the first
	// index given replace what the log held there. hs must be a fresh value
	// that nobody changes afterwards.
	Append(hs *raftpb.HardState, entries []*raftpb.Entry) error
	// Reset restarts the log behind a snapshot that the state machine has
	// installed durably: after it the log holds no entry up to meta.Index.
	// Durable on return, together with hs and entries.
	Reset(meta *raftpb.SnapshotMetadata, hs *raftpb.HardState, entries []*raftpb.Entry) error
	// Release says that the state machine holds everything up to durable.Index
	// on disk, and that entries up to unneeded (<= the applied index) are not
	// needed in memory by anyone but members that fell far behind. The log
	// gives disk space and memory back as its byte budget asks for.
	Release(durable *raftpb.SnapshotMetadata, unneeded uint64) error
	// Close releases files and locks. Nothing is lost by not calling it.
	Close() error
}

// StateMachine applies committed entries. Apply and Install of
// Snapshots are serialized by the caller; everything else may be called at any
// time.
type StateMachine interface {
	// Apply applies consecutive entries in order as one atomic batch that
	// moves the applied index with their effects. It need not be durable on
	// return (the log is). A configuration change, if there is one, is the
	// last entry of its call; conf is then the ConfState it led to, or nil if
	// the state machine refused the change (and for every other call).
	//
	// After the batch is visible to readers, answer is called once for each
	// envelope applied, in order, with the results of its commands: each an
	// error or a response message. A batch that was applied before (same
	// proposer and boot, same batch number) has no effect and no answer.
	//
	// An error is fatal to the node: the entries are then not applied.
	Apply(entries []*raftpb.Entry, answer func(index, proposer, boot, batch uint64, results []any)) (conf *raftpb.ConfState, err error)
	// Applied returns the index and term of the last entry applied.
	Applied() (index, term uint64)
	// Durable returns index, term and ConfState of the newest applied entry
	// that would survive a crash now.
	Durable() (*raftpb.SnapshotMetadata, error)
	// Flush makes everything applied when it was called durable. It may run
	// beside Apply.
	Flush() error
}

// Snapshots makes and installs snapshots of the state machine. The snapshots
// raft sees carry metadata only; the transport streams the files they name.
type Snapshots interface {
	// Latest returns a snapshot at or beyond minIndex that can be streamed. It
	// never blocks: while none is ready it returns
	// raft.ErrSnapshotTemporarilyUnavailable and starts making one.
	Latest(minIndex uint64) (*raftpb.Snapshot, error)
	// Install replaces the state of the state machine by a snapshot that was
	// received and verified before. Durable on return. Never called while Apply
	// runs.
	Install(s *raftpb.Snapshot) error
	// Refused says that raft will not install a snapshot that was received for
	// it: every MsgSnap that was stepped leads to Install or Refused. Never
	// blocks.
	Refused(s *raftpb.Snapshot)
	// Needed returns the index of the oldest snapshot that another member is
	// being sent, or may come back for: it needs the log from there on. 0: none.
	// Never blocks.
	Needed() uint64
}

// Transport carries messages to other members. No method blocks: what a full
// queue or a broken connection cannot take is dropped, and reported through
// Node.ReportUnreachable (Node.ReportSnapshot for a snapshot).
type Transport interface {
	// Send takes over messages, in order for each receiver. MsgSnap means:
	// stream the snapshot's files, then deliver the message.
	Send(messages []*raftpb.Message)
	// SendLeases takes over what leaders and voters say about leader leases.
	SendLeases(messages []LeaseMessage)
	// Forward carries a packed batch of proposals to the leader, once.
	Forward(to uint64, batch []byte)
	// Holders asks the member `to` (the leader) how many members hold the log
	// up to index. The answer arrives through reply; an unreachable member is
	// answered by reply(0, 0).
	Holders(to uint64, index uint64, reply func(have, total int))
}
