// Package sessions ends the sessions of clients that are not used any more. The
// replicated state knows which sessions there are and at which place of the log
// each was used last; how long ago that was is known to the leader alone, which
// then proposes to close one.
//
// It deliberately keeps nothing beyond a term of one leader: a new leader gives
// every session its whole time to live again.
//
// # Invariants
//
//  1. A session is closed for its age only in the term of the leader that
//     decided it, and only if it was not used since: the proposal names both,
//     and Apply refuses it otherwise.
//  2. A decision is made only while a quorum confirms the leader, so a leader
//     that was paused or cut off decides nothing.
//
// # Goroutines and locks
//
// Run is one goroutine; its caller waits for it. What it counts has no lock: the
// metrics are atomic.
//
// # Failure policy
//
// What fails is tried again at the next look, or by the next leader.
package sessions
