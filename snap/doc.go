// Package snap makes, streams, stages and installs snapshots of the state
// machine for followers that fell behind the log.
//
// A snapshot is a directory of files (a checkpoint). Raft sees only its
// metadata and a descriptor of a few dozen bytes; the transport carries the
// files as one self-describing byte stream, the archive, which Open reads and
// Stage writes. The package knows neither gRPC nor what the files mean.
//
// It deliberately does not resume a broken transfer, does not pace itself, and
// keeps nothing over a restart: checkpoints and staging left behind by a crash
// are removed when the store is opened, and raft asks again.
//
// # Invariants
//
//  1. Latest never waits for the disk (but in synchronous mode).
//  2. A checkpoint that somebody reads is not deleted.
//  3. Nothing is staged but what the descriptor promised: the descriptor holds
//     the digest of the manifest, the manifest the size and checksum of every
//     file, and no name in it leads out of the staging directory.
//  4. Stage returns nil only when every file and every directory entry is
//     fsynced.
//  5. A staged snapshot stays until it was installed, or until the applied
//     index shows that it never will be: raft applies nothing beyond a snapshot
//     it has accepted before that one is installed. Only when three are staged
//     and a fourth arrives does the oldest go, unless it is being installed;
//     should raft still ask for it, Install fails and the member restarts.
//  6. Descriptor, manifest and archive carry a format version; an unknown one
//     is refused (invariant 10).
//
// # Goroutines and locks
//
// The store runs at most one goroutine, which makes a checkpoint; Close waits
// for it. One mutex guards the lists of checkpoints and stagings and is never
// held during input or output.
//
// # Failures
//
// A checkpoint that cannot be made is logged and tried again at the next
// request. A transfer that breaks, or does not match its descriptor, leaves no
// file behind. An error of Install is final for the node (invariant 6).
package snap
