// Package watch delivers the events of the key space to the watch streams of
// this member: what is local about watching. The state machine tells the Hub of
// every batch it has applied (statemachine.Follower); the Hub finds the watchers
// of each change and hands them encoded events (rpc/feed).
//
// What it does not do: it knows no gRPC, no authorisation and no leader, and
// keeps no history: that is the revisions table's.
//
// A watcher is either synced or behind. A synced one is in the Hub's index, by
// its key or, if it watches a range, in an interval tree; the Hub puts its events
// into the queue of its stream. One that is behind, because it starts in the past
// or because its stream did not keep up, reads the history itself, on the
// goroutine that sends: as fast as its client takes it, and no faster.
//
// # Invariants
//
//  1. Apply never waits for a watcher: Advance only tries to put the batch into
//     a bounded queue. A batch that finds it full is left to the history.
//  2. A watcher gets every change of its keys from its first revision on once,
//     in order, and those of one revision in one message. Watcher.next is the
//     first revision it has not been given; while it is synced that is the larger
//     of next and Hub.at+1.
//  3. A watcher becomes synced, under Hub.mu, only if it has been given all up
//     to Hub.at; its events then come behind what its stream sent before, since
//     one goroutine does both.
//  4. Memory is bounded: the Hub's queue in bytes and revisions, the queue of a
//     stream in bytes and messages, all of these together by
//     Config.BufferBytesMax, and a piece of history by a share of
//     Config.HistoryBytesMax. What does not fit is dropped, and its watchers read
//     it again from the history. A revision that exceeds a bound by itself is
//     still delivered whole.
//  5. A message of progress at a revision comes behind every event up to it.
//  6. A watcher whose next revision is compacted is cancelled with the compacted
//     revision, and nothing else ends it but its client and its stream.
//
// # Goroutines and locks
//
// Run is the one goroutine of the Hub. Streams have none: those of their callers
// do the work. Hub.mu guards the index, Hub.at, and which watcher is behind; it
// is held while a batch is handed out, which may read the versions before a
// change, but never while a client is waited for. Stream.mu guards a queue;
// it is taken behind Hub.mu, or alone. Advance takes neither.
//
// # Failure policy
//
// A history that cannot be read stops the member elsewhere (package engine); a
// stream that needs it ends with the error. The Hub falls behind meanwhile.
package watch
