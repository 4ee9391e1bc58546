// Package peer is the transport between members: raft messages, forwarded
// batches of proposals, snapshots, and small questions.
//
// Every member dials every other. For each one it keeps two lanes, each a
// connection of its own so that gigabytes in one socket never delay the other:
// the urgent lane (heartbeats, votes, acknowledgements, ReadIndex, leader leases) and the bulk
// lane (appends, forwarded batches). Lanes are framed by ourselves (wire.go,
// peer.proto): gRPC takes a message through two more goroutines at each end, which
// on an idle machine costs more than the message. Questions and snapshots travel
// over gRPC. A snapshot has a further connection
// that lives as long as the transfer, paced by Options.SnapshotRateBytes for all
// receivers together. Its receiver leads: it asks for the ranges of the archive
// that it lacks, so a transfer that broke off goes on where it was. Every part
// has a checksum of its own; the files' checksums are the snapshots room's.
//
// The package deliberately does not retry a message, keep one over a broken
// connection, promise any order between lanes, or know what a snapshot consists
// of. It knows membership only through the interface it is given.
//
// # Invariants
//
//  1. Send, Forward and Holders never block: what a lane cannot take is dropped
//     and ReportUnreachable follows (invariant 7).
//  2. Every MsgSnap that Send took while the transport was open is answered by
//     exactly one ReportSnapshot (invariant 7).
//  3. Messages of one lane arrive in the order sent, with gaps only where a
//     connection broke.
//  4. Nothing is delivered from, or sent to, a member that has not shown the
//     right cluster, member id and incarnation and a protocol both sides know
//     (invariants 10 and 11). A delivered message is from whom it says.
//  5. A forwarded batch is sent at most once.
//  6. A MsgSnap is delivered only behind its snapshot, durable and verified.
//
// # Queues (invariant 5)
//
//	urgent  Options.QueueMessagesMax, UrgentBytesMax   full: the new message is dropped
//	bulk    Options.QueueMessagesMax, BulkBytesMax     full: the new message is dropped
//	holders Options.HoldersInFlightMax calls           full: answered 0 of 0
//	leases, hash  the askers': each question waits for its answer
//	snapshots one for each receiver, one received      full: reported as failed
//	reports   one record for each member               full: never, they are merged
//
// While a member cannot be reached its queues take nothing: raft makes newer
// messages than the ones that would be waiting. Stats shows all of it.
//
// # Goroutines and locks
//
// What can be sent without waiting is written by whoever calls Send (link.go). Each
// lane has a goroutine that connects and sends the rest, and while connected one
// that reads what comes back. Each incoming lane has one that reads and delivers and
// one that waits to close it; each incoming snapshot one beside gRPC's. A link's
// lock is held while writing; Send only tries it.
// One goroutine hands reports to the handler, so that the handler may call Send
// under its own locks. Transfers and questions have one each while they last.
// Close waits for all of them. Transport.mu is never held while anything is
// called that could wait.
//
// # Failures
//
// A broken lane drops what is queued, tells Hooks.PeerDown and the handler,
// and connects again with exponential backoff and jitter. A refusal is logged
// once for each member and reason until the two agree again; one that ends this
// process's life in the cluster also goes to Hooks.Rejected. Half-open
// connections are found by the kernel's user timeout when data is on the way,
// else by keepalive: gRPC's, or the questions of a lane, which both ends wait for.
package peer
