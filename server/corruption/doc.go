// Package corruption compares what the members of a cluster hold, and raises the
// CORRUPT alarm for those that hold something else than the others.
//
// Members apply the same commands and compare the effects of each; that finds
// programs that disagree. What it cannot find is a disk that gives back something
// else than it was given, behind the checksums of its blocks, or a record that is
// gone. For that the members' hashes of the whole key space are compared, as etcd
// does:
//
//   - Initial, before a member serves: with each other member, at the newest
//     revision that this one has.
//   - the periodic check, by the leader: at its newest revision; every member reads
//     all that it holds, at half speed.
//   - the compaction check, by the leader: of hashes that every member has computed
//     anyway before it removed what a compaction made unreadable.
//
// # Guarantees
//
//  1. Hashes are compared only if they cover the same: their revision and the
//     revision compacted before are equal.
//  2. The alarm names members that differ from a majority of all members, and
//     members whose key space contradicts itself; if hashes differ and there is no
//     majority, it names member 0, the cluster.
//  3. Who does not answer, or is behind for long, is skipped, and said so.
//
// An alarm is not taken back: an operator replaces the member and disarms it.
//
// # Goroutines
//
// Run is the one goroutine, beside one for each member that is asked; its caller
// waits for it. Checks take turns. Initial may be called before Run.
package corruption
