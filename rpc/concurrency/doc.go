// Package concurrency serves etcd's Lock and Election services, for clients
// that would rather not implement the recipes themselves. The services are
// etcd's own; this package is the client that they work with, which calls the
// etcd services of this member in process.
//
// What it does not do: it keeps no state. Locks and candidacies are keys with
// leases; validation, authorisation and replication are those of the services
// called (rpc/etcdv3). Errors are etcd's, also where its lock and election
// services answer with codes.Unknown and a text that client libraries know.
//
// Guarantees
//
//  1. Everything a call does is done in the name of its caller: metadata and
//     connection come with each request and each watch. No two calls share a
//     watch stream, and cleaning up after a caller that has gone is done in its
//     name too.
//  2. A call that waits holds a watch stream of its own and nothing that grows.
//     Who observes an election and does not read holds up that stream alone,
//     which is bounded by who feeds it.
//  3. When the member stops, waiting calls end with etcd's error for that.
//
// Goroutines: each watch has one that passes events on, and those of its stream.
// They end with the call.
package concurrency
