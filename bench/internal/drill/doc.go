// Package drill measures what a cluster does when something happens to it:
// members are killed and started again, a snapshot is saved, a follower catches
// up, old revisions are compacted. Each function takes a running cluster that it
// has for itself, and returns a measure.Point.
//
// It judges no figure and starts no cluster.
//
// # Invariants
//
//  1. An outage counts from just before the signal. Only a write that was begun
//     after the killed processes had ended can end it: an answer that was already
//     on its way proves nothing.
//  2. Writes that look for the end of an outage are begun at a fixed rate, whatever
//     became of those before: a server that holds writes cannot hide behind one
//     that waits.
//  3. Puts beside an event are an open loop at half of what the same cluster was
//     measured to take just before. An operation belongs to the event if the event
//     went on when it was sent or when it was answered.
//  4. Kills of Churn come by the clock, whether the cluster has recovered or not.
//  5. The client is the same for both servers, with the same settings.
//
// # Goroutines and locks
//
// A prober owns a goroutine per write under way, at most probesMax; close waits
// for all. An event runs in one goroutine that Disturb and Churn wait for.
//
// # Failure policy
//
// Writes that fail during an outage are expected, and counted by Churn. A cluster that does not serve
// again within recoveryTimeout, or a member that ends by itself, is an error.
package drill
