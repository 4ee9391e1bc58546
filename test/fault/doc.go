// Package fault runs real raft-kv processes and does to them what happens to
// processes: kill -9, SIGSTOP, restarts, members that come and go, and a network
// that drops, delays and breaks (package wire). What clients saw meanwhile must
// be linearizable, and in the end every member must be well and hold the same.
//
//	go test ./test/fault                                     in a few minutes
//	make fault DURATION=2h SEED=7                            the mixed scenario for hours
//	go test ./test/fault -run TestKillPoints -points=50 -timeout=0 -v
//
// What it does not do: lose power (the page cache outlives kill -9), harm disks,
// or reproduce a run. The seed decides which faults come in which order and for
// how long, not what the processes make of them; test/sim does that.
//
// # Scenarios
//
//   - Mixed: five nodes and ten clients, every second of which uses a session of the
//     native API, which reads from whichever member answers fastest. Kinds of faults come from a deck that is
//     shuffled again whenever it is used up, so every kind comes.
//   - Mixed, lease reads: the same while leaders answer reads by leases, which go on
//     and off, and are replaced behind their backs more often.
//   - Kill points: three nodes. One end of a snapshot on its way to a file or to a
//     follower, of its installation, of a restore, or of a change of members is
//     killed while that is under way, and counted only if it was.
//
// # Checks
//
//  1. The history is linearizable, by Porcupine with a time limit; not to know
//     fails. A write that was refused with an error that promises so is taken for
//     not applied: whoever sees it breaks the promise. Keys are changed every few
//     seconds, so that runs of hours are checked in pieces as they go; each piece
//     ends with a read of every key.
//  2. In the end all members serve, a write works through each, and HashKV is the
//     same on all.
//  3. Enough happened: acknowledged operations, elections, crashes, snapshot
//     installs and membership changes have minimums.
//
// Tests wait for conditions; only how long a fault lasts is a matter of time.
package fault
