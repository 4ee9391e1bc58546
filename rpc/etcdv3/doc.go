// Package etcdv3 serves etcd's v3 gRPC services from raft-kv, with etcd's
// validation, error texts and response headers, so that stock clients notice
// no difference.
//
// Served: KV, Watch, Lease, Cluster and Maintenance entirely, where Defragment
// has nothing to do. Auth is registered and answers codes.Unimplemented, so that a client gets a clear error instead of "unknown service".
//
// What it does not do: MVCC semantics (statemachine), replication (node),
// waiting (Backend) and the connection itself (rpc/listen) are elsewhere;
// validation, authorisation and deadlines are shared with the native service
// in rpc/request.
//
// Guarantees
//
//  1. A handler validates before it authorises and authorises before it
//     answers anything that depends on stored data (invariant 9).
//
//  2. A range is linearizable unless it asks to be serializable; it may then
//     be answered by any member, a learner too, without a quorum.
//
//  3. A response names the cluster, the member and its term; its revision is
//     that of the store when the operation ran.
//
//  4. A physical compaction is answered when this member has removed what it
//     made unreadable.
//
//  5. RangeStream reads one revision for the whole stream and holds one chunk
//     in memory, of about the maximum request size.
//
//  6. A read that does not fit into the response limit is refused with
//     ResourceExhausted; RangeStream then takes smaller chunks, unless it has to
//     sort. etcd 3.7 has gRPC's own limit alone, after the answer was made.
//
//  6. A watch stream holds one message at a time; what waits for its client is
//     bounded by who feeds it (rpc/feed). Over gRPC an event is encoded once,
//     however many watchers get it.
//
// A watch stream has two goroutines, which read and send; the other handlers
// have none, and no locks. Errors are answered, never
// retried; each passes the one error table (rpcerr).
package etcdv3
