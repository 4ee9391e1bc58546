// Package snap makes, streams, stages and installs snapshots of the state
// machine for followers that fell behind the log.
//
// A snapshot is a directory of files (a checkpoint). Raft sees only its
// metadata and a descriptor of a few dozen bytes. The files make up one byte
// sequence, the archive, in which an offset means the same on every member: Open
// reads it at the sender, and Stage asks, through a function of the transport,
// for the ranges that are missing at the receiver. So a transfer that broke off
// goes on where it was, and files that are here already (of another snapshot, or
// of the live state) are linked instead of sent. The package knows neither gRPC
// nor what the files mean.
//
// For operators it makes snapshot files (Save) and reads them (OpenSaved): a
// checkpoint in one self-describing file, in a format of its own with checksums
// behind the data, so that the data is read once only.
//
// It deliberately does not pace itself, and keeps nothing over a restart:
// checkpoints and staging left behind by a crash are removed when the store is
// opened, and raft asks again.
//
// # Invariants
//
//  1. Latest never waits for the disk (but in synchronous mode).
//  2. A checkpoint that somebody reads is not deleted. One that nobody reads
//     goes when it is superseded, trimmed, found damaged, or not asked for over
//     Options.KeepFor. At most one waits; superseded ones have a reader each.
//  3. Nothing is staged but what the descriptor promised: the descriptor holds
//     the digest of the manifest, the manifest the size and checksum of every
//     file, and no name in it leads out of the staging directory. A linked file
//     was verified like one received.
//  4. Stage returns nil only when every file and every directory entry is
//     fsynced.
//  5. A staged snapshot stays from Stage until raft has installed or refused it:
//     each delivery pins it, Install or Refused ends that. Newer ones never push
//     it out; when every place is pinned or being written, Stage answers
//     ErrBusy. What is not pinned goes when the applied index has passed it, when
//     its place is needed, or when nobody used it over Options.KeepFor.
//  6. Descriptor, manifest and archive carry a format version; an unknown one
//     is refused (invariant 10).
//
// # Goroutines and locks
//
// The store runs at most one goroutine that makes a checkpoint and one that
// sweeps what nobody came back for; Close waits for both. One mutex guards the
// lists of checkpoints and stagings and is never held during input or output.
//
// # Failures
//
// A checkpoint that cannot be made is logged and tried again at the next
// request; one that cannot be read, or that a receiver found damaged, is
// replaced at the next request. A transfer that breaks leaves what it verified; a file that does
// not match its checksum is fetched again; after an error of the disk the
// whole staging is removed. An error of Install is final for the node
// (invariant 6).
package snap
