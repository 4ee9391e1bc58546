// Package grow measures one server while its data grows: a cluster is filled in
// steps, and at each one it is measured what a put and a linearizable get cost, how
// much memory and disk the members take, and how long they need after kill -9.
//
// It compares nothing with another server (package compare), and reads no history of
// changes: a key is written once, and some again by the measured puts.
//
// # Invariants
//
//  1. All steps are taken on one cluster, and each begins with members that have just
//     been started: the peak of their memory is that of the step.
//  2. The load of a step is the same at every step; only the keys among which it draws
//     become more.
//  3. A step is measured once the members have done what they do behind a load, or
//     says that they had not.
//  4. What was measured before a failure or an interrupt is kept, and the report says
//     that it is incomplete.
//
// Everything runs in the caller's goroutine, except what load, kvload and cluster own.
package grow
