// Package clienttest runs fake members in the test's own process, for tests of
// the client library and of the command line.
//
// A Cluster is a set of gRPC servers on loopback ports that share one store in
// memory: the native service (unless it is left out, as on an etcd), KV, Cluster
// and Maintenance. The store keeps revisions, versions and past states as the
// etcd API defines them, as far as the command line uses them. There is no
// replication, no log and no consensus: roles and indexes are what the test
// says they are.
//
// Faults: a member can be stopped (its port refuses connections), its
// connections can be cut under a request, and an interceptor can see, delay,
// refuse or drop every request before or after it was applied.
//
// Every method may be called from any goroutine. One mutex guards the store,
// one the state of a member. All goroutines belong to the gRPC servers, which
// the test's cleanup stops and waits for.
package clienttest
