// Package conformance runs etcd's public end-to-end tests (the package
// tests/common of etcd's test module, pinned to the version we are compatible
// with) against raft-kv: the tests and their driver are etcd's, compiled as
// they are; only the server binary they start is ours.
//
// tests.txt names every test of the suite, as run or as left out with the
// reason. A test that the list does not know fails the run, so that a new
// version of the suite cannot pass unseen, and so does a listed one that the
// suite no longer has.
//
// Each test gets a sandbox: a network namespace of its own, since the driver
// uses fixed ports and two tests run at once; a process namespace, so that
// nothing it started outlives it; and a directory with a copy of the suite's
// fixtures, found by relative path. What a failed test and its servers wrote
// is kept in a file.
//
// The runner itself is checked by running it with a real etcd in our place
// (go run ./run -against etcd): what fails then is not raft-kv's fault.
//
// It does not judge: there is no list of tests that may fail. A test that
// skips itself is reported as skipped, and fails the run under STRICT=1.
//
// Invariants:
//  1. A test counts as passed only if its process exited with 0 and reported
//     its own pass; silence is a failure.
//  2. No process of a test outlives the runner's verdict on it.
//  3. Nothing outside the run's temporary directory and the log directory is
//     written.
//
// Goroutines: one per test under way, all awaited by Run. Failures of the
// machine (no namespaces, a build that fails) end the run with an error;
// failures of tests are results.
package conformance
