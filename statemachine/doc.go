// Package statemachine is the replicated state of a member: the key space, its
// leases, the members of the cluster, alarms, what deduplication needs, and the
// deterministic Apply that moves all of it from one log entry to the next.
//
// It deliberately does not know the log, the network, time, or which member it
// runs on; it serves no requests but reads; it delivers no events, but hands
// the changes of each batch to a Follower, and any piece of history to who asks
// for it. It neither
// decides when there is no space, nor when to compact or to sweep.
//
//	envelope  the format of a log entry's data
//	keys      the key encoding of all tables
//	engine    a Pebble database in a directory, replaced as a whole
//	mvcc      versions of keys
//	lease     leases and their keys
//	kv        etcd's requests on top of mvcc
//
// # Invariants (numbers of the design in brackets)
//
//  1. The applied index moves in one Pebble batch with the effects of the
//     entries, one batch a call of Apply [3].
//  2. Apply is a pure function of state and entries: how entries are divided
//     into calls changes nothing, not even the rolling hash [4].
//  3. Durable never claims more than would survive a crash; what survives is
//     the state after some applied entry [2].
//  4. A batch (proposer, boot, number) takes effect at most once. The table
//     that ensures it is part of the state and travels with snapshots. Records
//     of removed proposers stay, so that a batch of theirs that is still
//     under way cannot be applied a second time.
//     The table of sessions does the same for the commands of a client: each
//     sequence number takes effect at most once, in order, whoever packs it, and
//     its result moves in one batch with its effects. Results are kept until the
//     client acknowledges them, within bounds that are the same everywhere.
//  5. A member id is used once: removed ids are kept for ever, and so is the
//     first incarnation that a member publishes [11].
//  6. Nothing is read or written after a failed write: the error goes to
//     OnFatal once, and every later call returns it [6].
//  7. What can be read is decided by the replicated compacted revision alone.
//     Removing what it made unreadable (a sweep) is local: it changes neither
//     an answer nor StateHash nor the rolling hash, and begins only when
//     readers know the compaction. Its record moves in one batch with the
//     removals, so that a crash leaves a sweep that goes on, and an account of
//     live bytes that is exact.
//
// # Goroutines and locks
//
// The package starts no goroutines. Apply, Bootstrap and Replace are
// serialized by the caller and own the mutable fields; calls of SweepStep take
// turns, and may run beside them. Everything else may be called at any time and
// works on an immutable view that Apply publishes after its batch is visible;
// what is known in memory of compactions has a lock of its own, and so has what is known
// of keys that are read often. A reader holds on to the database its view belongs to,
// so that Replace never takes it away: it finishes on the old one.
//
// # Failure policy
//
// A command that cannot be done is refused with a typed error as its result
// and changes nothing. An entry that cannot be decoded is fatal: skipping it
// on this member alone would part its state from the others', and nothing but
// damage or a newer binary makes one. For the same reason a command of an
// unknown kind is fatal and not a refusal: the cluster version keeps new kinds
// out of the log until every member knows them, so the binary is older than
// its data, and answering with an error would drop what the others apply. An
// envelope or a state of a newer cluster version is fatal too. A kind that the
// binary knows and the cluster version does not allow yet is a refusal, alike
// on all members.
package statemachine
