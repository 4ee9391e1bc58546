// Package measure takes one measurement: it finds the members to talk to,
// connects, loads the keys that must exist, drives the load and reads what the
// server processes used in the measured window. Every command of bench that
// produces a figure goes through Run, so that all figures mean the same.
//
// It starts no server and judges no figure.
//
// # Invariants
//
//  1. The leader is looked up immediately before each measurement; a point whose
//     leader changed between start and end says so.
//  2. Processor time per operation is processor time per second divided by
//     operations per second, each over its own clock: sampling a process late
//     on a busy machine does not distort it.
//  3. A process that ended, or was replaced, during the window fails the
//     measurement.
package measure
