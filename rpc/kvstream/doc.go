// Package kvstream serves raft-kv's native service (raftkv.v1.Native): what
// the etcd API has no call for. That is a stream of frames with sessions, a
// write that says how many members hold it, the append, a status with roles and
// members, and the rewrite of a member's files. Package frames is the encoding of
// what frames carry.
//
// What it does not do: single reads and ranges go through the etcd services.
//
// # Guarantees
//
//  1. A write passes the same validation, bounds and authorisation as the etcd
//     services' (package request), each write of a frame by itself.
//  2. Counting holders happens after the commit and cannot fail the write:
//     when the count cannot be learnt it is answered as 0 of 0.
//  3. Status needs no quorum and no leader.
//  4. The writes of a frame are one command, so they become part of one log
//     entry. They take effect in their order, each as a transaction of its own,
//     with nothing between them. A frame is refused as a whole, before it is
//     proposed, if it is malformed or too large.
//  5. The frames of a session take effect in the order of their sequence numbers,
//     each once, however often and to whichever member they are sent. Sent again,
//     a frame returns its recorded results. The order in which frames are
//     answered says nothing; frames of different sessions have no order.
//  6. The reads of a frame run at one revision, which covers what was acknowledged
//     before the frame came in, unless it is serializable. They run beside its
//     writes and may see them or not.
//
// # Bounds (invariant 5 of the design)
//
// A stream has at most 64 frames and 16 MiB of them in flight; then it is not
// read, and gRPC's flow control stops the client. A frame has at most
// request.Config's FrameOpsMax writes and as many reads, its writes take at most
// RequestBytesMax, and its reads return 4 MiB and one value more.
//
// # Goroutines and locks
//
// A stream has one goroutine that receives, which ends with the stream, and one
// for each frame in flight, which the call waits for. Answers are sent under a
// lock of the stream. A rewrite runs on a goroutine of its own, which its call
// waits for. There are no retries; errors pass the one table (rpcerr).
package kvstream
