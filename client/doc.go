// Package client is the Go client of raft-kv: one gRPC connection for each
// endpoint, requests that move on to another endpoint where that is safe, and
// errors that say whether a write was applied.
//
// It speaks the native service where the server has it and falls back to the
// etcd API where it does not, so the same program also works against etcd; what
// only the native service knows (how many members hold a write) is then 0.
//
// A watch ([Client.Watch]) moves on, too: it goes on at another endpoint behind
// the last event that it told of.
//
// Leases are renewed by [Client.KeepAlive] for as long as the caller lets it
// run. [Client.Claim] and [Client.Observe] are etcd's recipe for locks and
// elections, so they work together with users of etcd's own libraries.
//
// A [Session] is the way to use a cluster heavily: calls of many goroutines share
// frames of one stream, and each write takes effect once, however often it has to
// be sent. It speaks the native service alone.
//
// What it deliberately does not do: outside a Session it never repeats a
// write whose outcome it does not know, but for the one of a Claim, which done
// twice is done once; and there it does not pipeline, balance load or
// remember which endpoint answered last. It reads no certificate files.
//
// # What callers can rely on
//
//  1. A write is sent again only if the earlier attempt was surely not applied:
//     its request never left this process, or the server answered with an error
//     that it gives before proposing anything.
//  2. A write that may have been applied ends in an error that matches
//     [ErrUnknownOutcome]; one that surely was not, in an error that matches
//     [ErrNotApplied]. No error of a write matches neither, and none both.
//  3. Reads, and transactions that only read, are repeated freely, each on the
//     next endpoint. While endpoints remain, a read gives none of them more
//     than half of the time that is left.
//  4. Endpoints are tried in the order given. Fallback endpoints are asked only
//     when no endpoint of the first list could be reached at all: one that is
//     there but cannot serve (no leader, say) keeps requests away from what may
//     be another cluster.
//  5. Every answer names the endpoint and the member that gave it.
//
// # What callers of a Session can rely on
//
//  1. A write is applied at most once, and exactly once if it returns without an
//     error. Errors match [ErrNotApplied], [ErrApplied] (it was applied, and its
//     result is lost) or [ErrUnknownOutcome], one of the three.
//  2. Writes of one goroutine that calls them one after the other take effect in
//     that order. So do all writes of a Session, in the order in which their calls
//     were queued, as long as the session lives.
//  3. A lone call is sent at once. While SessionConfig.FramesInFlight frames are
//     under way, what is called becomes the next frame.
//  4. Writes go to the leader, reads to the member that answers fastest. A frame
//     that is not answered is sent again, to another member after StallTimeout.
//  5. Every call ends: by its context, or after SessionConfig.Timeout. A write that
//     was sent by then ends with ErrUnknownOutcome, and its frame goes on.
//  6. A session that expired is replaced silently, unless frames were open whose
//     outcome can then not be learnt.
//
// # How it knows that nothing was sent
//
// A gRPC status cannot tell a refused connection from one that broke under the
// request: both are Unavailable. A stats handler on each connection therefore
// notes when the headers of an attempt are handed to the transport. Without
// that event nothing can have reached the server. gRPC's own transparent
// retries happen only where the server proved that it processed nothing; each
// starts the note afresh.
//
// # Goroutines and locks
//
// A Client may be used from many goroutines. It has no locks: what it holds
// never changes after New. Its only goroutines are those of
// [Client.ClusterStatus], one for each endpoint and member, which it waits for,
// and those of the gRPC connections, which Close ends.
//
// A Session has three lanes (writes, reads, stale reads), each with a lock, a
// goroutine that sends, one more that receives while there is a stream, and one
// for each endpoint while a member is chosen, which ends with its question. Close
// waits for the former.
//
// # Failure policy
//
// If at least one endpoint was reached but none could serve the request, the
// list is tried again after a pause, a bounded number of times and within the
// caller's deadline: that carries a request over an election. If none could be
// reached the call fails at once and lists each endpoint with its reason.
package client
