// Package ring has the kernel sync a file while the goroutine that asked waits
// like one that reads from a socket: through io_uring (io_uring(7)).
//
// Why not fdatasync: a goroutine in a system call keeps its processor, in the
// scheduler's sense, until the runtime's monitor thread takes it away. That
// thread wakes up every 20 us meanwhile to look, and with one processor nothing
// else runs until it has looked twice. A sync on a good disk takes 50 to 200 us,
// and a member makes thousands of them in a second.
//
// What it does not do: read, write, or sync more than one file at a time. Where
// there is no io_uring (another system, an old kernel, a container whose seccomp
// profile forbids it, sysctl kernel.io_uring_disabled) New says so.
//
// # Invariants
//
//  1. Fdatasync returns nil only if the kernel reported that a sync that began
//     after the call succeeded.
//  2. Nothing is under way when Fdatasync returns, unless it returns an error of
//     the ring itself; the ring is not used again then.
//
// # Goroutines and locks
//
// No goroutine and no lock: one goroutine at a time calls the methods.
//
// # Failure policy
//
// What the disk reports is returned and never asked for again: after a failed
// sync nobody knows what is on disk. When the ring itself fails before the kernel
// took the request, or the kernel says that it did not begin, as where a limit
// forbids it the thread that it needs, this file and all later ones are synced by
// the system call, and Broken says why. Telling of it is up to the caller.
package ring
