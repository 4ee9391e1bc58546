// Package wire is a faulty network between processes of one machine: toxiproxy,
// as a library, behind the addresses at which nodes tell their peers to reach
// them.
//
// All peers of a node dial it at one address, its door, so a proxy there could
// only cut the node off from everybody at once. The network therefore finds out
// who dials: the kernel knows which process owns the other end of a connection
// on loopback (/proc). Every ordered pair of nodes has a route with toxics of
// its own, and everything a test asks for is said of what flows from one node to
// another, whoever dialled.
//
// What it does not do: lose or reorder single messages. What passes is TCP, so a
// message gets lost with its connection, or with everything that is sent into a
// link that drops. Clients do not pass here.
//
// # Invariants
//
//  1. What is dropped on a connection is never followed by more bytes on it: such
//     connections are broken when the link heals.
//  2. Whoever cannot be told apart is not let in.
//
// # Goroutines and locks
//
// A door has one goroutine that accepts and one per connection that is being
// identified; the links are toxiproxy's, and end with their connections. One
// mutex guards routes and connections; it is not held while toxics are put on live
// links, since that waits for them. Faults are changed by one goroutine at a time.
//
// # Failures
//
// toxiproxy may wait for ever for a link whose end is dead. Such a link is given
// up with the few goroutines that it has, and its connections break; so does
// healing with every link, since taking a toxic off has the same fault.
package wire
