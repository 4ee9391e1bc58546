// Package harness runs the real binaries for end-to-end tests: it builds them,
// starts nodes as processes of their own, listens to what they print, and
// harms them with signals.
//
// What it does not do: look into a node. A test learns what a user could learn,
// from the console, the exit code, the network, or the files left behind. It
// asserts nothing either, except that the means of a test work and that no
// process panics; what a node must do is said by the tests.
//
// # Guarantees
//
//  1. No process outlives its test: it is killed and waited for when the test
//     ends, and killed by the kernel when the test binary dies (Linux).
//  2. Processes are addressed by handle, never by a number read from somewhere.
//  3. Nothing waits without a limit, and nothing waits for time to pass: waits
//     are for a line, for the end of a process, or for a condition that Until
//     asks again and again.
//  4. When a test fails, the last lines of every process that it ran are in its
//     log.
//
// # Goroutines
//
// Each process has one goroutine, which starts it and waits for it on one
// thread, because the kernel sends the death signal when that thread ends; the
// processes of os/exec add one per output. All have ended when Kill returns.
package harness
