// Package socket reads and writes TCP connections without telling Go's
// scheduler.
//
// Before a system call the runtime makes ready for one that blocks: it wakes the
// thread that would give the processor to others, and afterwards has to get a
// processor back. A socket of Go's never blocks (a call that would have to wait
// says so, and the goroutine waits in the network poller), so all this is for
// nothing, and on a member that does little else it is a fifth of a linearizable
// read's CPU.
//
// What it does not do: TLS (it goes below), sockets that are not TCP (they stay
// as they are), systems other than Linux, and builds for the race detector (calls are made as
// usual there).
//
// # Invariants
//
//  1. A call moves at most callBytesMax bytes, since nothing else can run on its
//     processor meanwhile; more at a time goes the usual way.
//  2. A Conn keeps what net.Conn promises: deadlines, Close while others wait,
//     several goroutines at a time.
//
// # Goroutines and locks
//
// None of its own. Read and Write have a lock each, held while they wait: another
// reader or writer would have to wait anyway.
//
// # Failure policy
//
// Errors are those of net, or those of the kernel as *os.SyscallError.
package socket
