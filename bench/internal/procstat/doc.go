// Package procstat reads what processes cost from Linux's /proc: processor
// time and resident memory. It samples; it holds nothing open and starts no
// goroutine.
//
// # Invariants
//
//  1. A process that cannot be read is an error, never a zero: a server that
//     died during a measurement must not look cheap.
//  2. Processor time is that of the whole process, user and system, all
//     threads, ended ones included; children are not included.
//
// Resolution is one clock tick, 10 ms: /proc reports in USER_HZ, which is 100
// on every architecture Go supports. Over a window of 3 s on two cores that is
// below 1 %.
//
// On other systems than Linux every reading fails; callers then leave the
// figures out and say so.
package procstat
