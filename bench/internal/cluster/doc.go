// Package cluster runs clusters of real server processes for a measurement:
// any program that takes etcd's long flags. It starts them on free loopback
// ports with data directories below a directory it is given, waits until they
// serve, and ends them.
//
// A measurement may kill members and start them again. It does not install
// programs, interpret their output or restart what died by itself.
//
// # Invariants
//
//  1. Only processes that this package started are ever signalled, through the
//     handle of the child itself, never through a stored number.
//  2. When Start fails or Stop returns, no process of the cluster is left.
//  3. On Linux the processes die with this one, however it ends.
//  4. All clusters get the same flags and the same environment; settings of
//     etcd or raft-kv in the caller's environment do not reach them.
//
// # Goroutines and locks
//
// One goroutine per process starts it, waits for it and closes a channel when
// it has ended. It keeps its operating system thread for itself, because Linux
// sends the parent-death signal when the starting *thread* ends. Stop waits for
// all of these goroutines. A Cluster is used by one goroutine at a time.
//
// # Failure policy
//
// A process that ends before it was asked to is an error that quotes the end of
// its log.
package cluster
