// Package node runs one raft member: it drives go.etcd.io/raft/v3 with
// asynchronous storage writes, packs commands into log entries, confirms
// linearizable reads, and decides what the log, the state machine and the
// snapshots have to do. It knows raft and no key-value store: commands and
// results are opaque to it.
//
// It has two halves. Core is deterministic: events go in (a tick, a message, a
// finished write), an Output comes out, and nothing in it has a goroutine, a
// clock or randomness of its own: those are passed in. Node drives a Core on goroutines. The
// simulator drives the same Core, with the same Persist and Execute, on an
// event heap.
//
// What it does not do: open files or sockets (see the interfaces Log,
// StateMachine, Snapshots and Transport), encode commands (Config.Pack),
// decide who is a member (the state machine does when it applies a
// configuration change).
//
// # Invariants
//
//   - No vote and no acknowledgement of an append leaves before what it promises
//     is durable, and no request for votes before the term that it is for: such
//     messages are Responses of a Write and are released by Persist alone
//     (invariant 1).
//   - applied <= committed; a snapshot is installed durably before the log is
//     reset behind it (invariant 2).
//   - Every queue is bounded by Config, refuses or drops when full, and is
//     counted by Stats (invariant 5).
//   - The first error of the log or the state machine stops the node (invariant 6).
//   - Messages of peers may be dropped and never block the loop (invariant 7).
//   - A batch is registered before it is proposed, and whoever waits is always
//     answered: by the result, by ErrUnknownOutcome or by an error that means
//     "not applied" (invariant 8).
//
// # Proposals
//
// Raft's own forwarding is off, because a forwarded proposal that is duplicated
// would apply twice. A batch has a name instead (proposer, boot, batch number)
// and the state machine applies a name once. So a batch whose leader is gone is
// handed to the next one without asking whether it is in the log already, and
// clients do not notice most elections.
//
// A leader has about Config.AppendsMax appends under way. What comes in
// meanwhile, its own commands and batches of others, is proposed at once when one
// of them is committed: an append costs every member the same, however many
// batches it carries. What a commit means to followers rides on that append.
//
// # Backlog
//
// What is committed and not applied stays in memory. Config.BacklogBytesMax bounds
// it (backlog): a follower beyond that acknowledges no append until it has applied,
// and a leader with a voter that kept up so far and is twice that far behind proposes
// once a tick, for an election timeout at most. What was in the log at the start does
// not count; Config.FlushBytes bounds it.
//
// # Reads
//
// Reads that arrive while a round is being prepared share it, and so do the
// requests of followers at their leader. Beside a round in flight another is sent
// for as many readers as that has. A round gets a fresh context each time it is
// sent and is sent again when the term changes or half an election timeout passes
// without an answer. The leader asks no more followers than make a quorum.
//
// With leader leases (SetLeaderLease) a leader confirms a round by itself while a
// quorum has promised not to help another member to win. The time of its question
// and the length of the promises, less a margin, bound the lease, by a clock that
// Config passes in; a voter keeps its promise whatever it learns, and after a
// restart. Raft's own leases are not used: they count ticks, which stand still
// with a paused process, and need every member to be configured alike
// (docs/adr/0009-lease-reads.md).
//
// # Goroutines and locks
//
// The loop owns the Core, and is no goroutine: it is whoever has the turn, one at a
// time, for as long as it takes to hand the Core what has come and to carry out
// what it decides. That is the goroutine which brought something, if nobody else
// has the turn (a lane of a peer, a caller of Propose or ReadIndex, the log writer,
// the applier, a timer), else the ticker's, which others leave their rest to. With
// the turn nobody waits for a disk, a peer or a client.
//
// The log writer and the applier take tasks from their queues and report back
// through the inbox; a flush runs beside them, one at a time. Propose and Read
// touch the proposal table and the joining round under a mutex each, which who has
// the turn takes, too; the applier answers waiters directly. Under those mutexes no
// other lock is taken.
package node
