// Package e2e tests raft-kv as its users meet it: real processes on real
// sockets and disks, started by their flags, driven by raft-cli, by etcd's own
// client library, by etcdctl and by HTTP, and harmed by SIGKILL, SIGSTOP,
// removed directories and flipped bytes. The package harness runs the
// processes.
//
// What it does not do: search for rare interleavings (test/sim does, from a
// seed and in virtual time), lose power (a killed process leaves the page cache
// intact), or measure. Time limits are those that raft-kv promises; where it
// promises none, a test waits far longer than a loaded machine needs.
//
// Rules of the tests:
//
//  1. An acknowledged write must be there, whatever happened; a write of
//     unknown outcome may be there, once. Tests keep books of both.
//  2. Nothing sleeps: tests wait for lines, ends of processes and conditions.
//  3. Tests run one after the other; the machine is busy with one cluster.
//  4. Text that users read is compared character for character.
//
// With -short the large loads shrink; nothing is skipped.
package e2e
