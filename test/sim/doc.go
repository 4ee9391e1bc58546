// Package sim runs a whole cluster in one goroutine and virtual time, with
// faults drawn from a seed, and checks at every step that it keeps its promises.
// The same seed gives the same run, down to the time and content of every step.
//
//	go test ./test/sim                                  25 seeds and the planted bugs
//	go test ./test/sim -run 'TestSeeds$' -seeds=500 -start=1000 -scenario=changing-members -timeout=0
//	go test ./test/sim -run 'TestSeed$' -seed=7 -v -steps   replay one, step by step
//
// TestSeeds gives every seed a process of its own, one for each processor at a
// time.
//
// # What is real
//
// The five members run the code that the server runs: node.Core with
// node.Persist and node.Execute, package wal above its segments, the state
// machine on Pebble, the snapshot store, the ledger of identities, the lessor's
// book of deadlines. Faked are time, the network, the segment files of the log
// (package wal/crashlog), the file system (Pebble's MemFS, which forgets what was
// not synced), and the goroutines of the driver: the loop, the log writer, the
// applier, the flush and the lessor of a process are events that take random
// times. What package server does about members (asking to join, publishing,
// refusing, leaving) is written again here, in joining.go.
//
// Not simulated: full or failing disks, bytes damaged on disk, compaction of
// revisions (the files of the state are rewritten now and then), alarms, and gRPC. Of files that were not synced a power cut keeps nothing,
// because MemFS would choose in an order that is not reproducible.
//
// # Faults
//
// Messages are lost, duplicated, delayed and overtake each other. Links are cut
// one way, members isolated, the cluster split; processes are killed or paused,
// the power of one or all members is cut, also in the middle of a write to the
// log, a flush, the installation of a snapshot, the creation or the recovery of
// a directory; machines are slow, or only a disk, which may also hang for seconds
// and go on, or only an applier; leaders hand over; streams of snapshots break; a
// directory is removed. In the scenario ChangingMembers nodes join with an empty
// directory, get their state by a snapshot and are promoted; others are removed
// for them; an operator saves snapshot files, which are verified as raft-cli does,
// and have to be refused where the member died on the way.
//
// # Checks
//
//  1. At every step: one leader a term; an entry has one content and one
//     predecessor; what is committed never changes and is in the log of every
//     later leader; applied <= committed; equal states at equal applied indexes.
//  2. When an acknowledgement or a vote leaves: a power cut now would keep what
//     it promises. When a request for votes leaves, or a word of a leader: it would
//     keep the term. When the log is released: it starts within the durable state.
//     After a crash: nothing is missing that had been durable. A leader waits for a
//     follower that is behind for no longer than an election timeout.
//  3. At the end, healed: the members agree soon; their states are equal; every
//     acknowledged write is on every member at its revision; revisions are
//     contiguous; each was written by one operation, no operation wrote two, and
//     none that was said not to be applied.
//  4. The history of all clients is linearizable (Porcupine).
//  5. No lease is revoked for its age before the end of what its grant and its
//     renewals promised, and in the end all are gone, with their keys.
//  6. Everybody who joined votes in the end, and everybody who was removed is gone,
//     unless it was away until nobody was left whom it knew.
//  7. A watcher at each member is told of every revision once, in order, and of
//     the same changes as all others, across crashes and installed snapshots.
//     What they were told is what the state holds in the end.
//
// The planted bugs show that these checks find what they are for, and the
// suite asserts that enough happened for them to mean something.
//
// # Determinism
//
// One goroutine runs everything but Pebble's flushes and rewrites, which are
// waited for.
// Every part draws from a source of its own. Nothing depends on the order of a
// map, on addresses or on the machine's clock; Porcupine alone has a limit in
// real time, and running into it fails the run.
package sim
