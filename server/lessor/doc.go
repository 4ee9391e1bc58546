// Package lessor counts down leases. The replicated state knows which leases
// there are and how long they live (statemachine/lease); when one is over is
// known to the leader alone, which then proposes to revoke it.
//
// Book is that knowledge for one term of one leader: deterministic, without
// goroutines, and told the time by its caller. Lessor drives one on the member
// that leads; test/sim drives it on virtual time. It deliberately does not
// replicate, find the leader or talk to other members: Member is what it is
// given.
//
// # Invariants
//
//  1. A lease is revoked for its age only by the leader of a term in which
//     nobody else can have renewed it: the revocation names the term, and
//     Apply refuses it in any other (design, "Leases, sessions, time").
//  2. A new leader gives each lease what is known to be left of it and an
//     election timeout more, so that what the leader before has answered to a
//     client holds.
//  3. A renewal is answered only by a leader whose leadership a quorum confirmed
//     less than an election timeout before it answers. Who leads next has read
//     the leases after that confirmation and gives each an election timeout more
//     (2), so no lease ends for its age before the time that was answered. One
//     confirmation serves all renewals for half of that time (Book.RenewNow);
//     that a lease does not exist is said only by a leader that confirmed its
//     leadership after the question came.
//  4. What was recorded as remaining of a lease is withdrawn, through the log,
//     before its renewal is answered.
//  5. A lease that is to be revoked is not renewed any more in that term.
//  6. A member that does not lead knows no deadlines.
//
// # Bounds (invariant 5 of the design)
//
// The book holds every lease once, and at most as many entries of a queue again
// (twice for leases longer than the checkpoint interval) and a constant.
// Revocations wait in a queue of Config.RevokesPerSecond/2 and go out at most
// Config.RevokesInFlight at a time; what does not fit stays expired in the book.
//
// # Goroutines and locks
//
// Run is one goroutine, with Config.RevokesInFlight workers while this member
// leads; its caller waits for it. Renew, Left and List may be called at any
// time. Changed is called by the applier and holds the lock for a moment. The
// lock is never held while the member is called.
//
// # Failure policy
//
// A revocation or a record that fails is tried again after
// Config.RetryInterval, or by the next leader. Leases that cannot be read at
// the beginning of a term are read again after a pause.
package lessor
