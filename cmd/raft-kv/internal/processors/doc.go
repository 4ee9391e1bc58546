// Package processors gives the process one processor of Go's scheduler while
// little happens, and all of them when there is work for them.
//
// With idle processors at hand the scheduler wakes a thread for nearly every
// goroutine that becomes ready, which comes too late and then searches in vain.
// A lone client is slower for that, and the machine that members share does less
// (docs/adr/0011). One processor wakes nobody; many clients need all of them.
//
// Two measures of the last moment decide: how long goroutines that were ready
// waited for a processor, and how much CPU the process used. policy is the
// decision, without clock and runtime; governor is the loop that measures, asks
// and acts.
//
// What it deliberately does not do: it knows neither members nor clients nor
// which goroutine waited; it chooses no number between one and all; it does not
// look for system calls that block. One of those holds the only processor until
// the runtime's monitor takes it back, after 20 us to 10 ms. So whoever calls
// Govern must say whether something blocks often: the log above all must be
// synced without holding a processor. Of what else blocks, flushes and
// compactions of the state, it sees the waits alone.
//
// # Invariants
//
//  1. It never goes to one processor where $GOMAXPROCS is set, where there is
//     only one, or where it cannot measure, and never again once syncs of the log
//     hold a processor.
//  2. It leaves one processor after the first window that shows work for more,
//     and goes back to one only after several that show none.
//  3. All means what the runtime takes by itself, the control group's limit
//     included, and the runtime follows changes of that limit again.
//  4. A load that sends it up and down costs one window under load a time, and
//     the times become rare: it stays up longer after each.
//  5. When its goroutine has ended, the process has all processors.
//
// # Goroutines and locks
//
// Govern starts one goroutine; the function that it returns ends it and waits
// for it. There are no locks. A change of the number stops the world, and waits
// for the end of a garbage collection before.
//
// # Failure policy
//
// If a measure fails, the governor says so in the log, goes back to all
// processors and ends. So it does, within a window, when syncs begin to hold a
// processor, since they never cease to. Nothing else can fail.
package processors
