package node

import "errors"

// Errors of proposals and reads. Each says what the caller may conclude about
// its write: everything but ErrUnknownOutcome means that it was not and will
// not be applied.
var (
	// ErrBusy: the proposal queue is full. Not applied; try again later.
	ErrBusy = errors.New("node: too many proposals are waiting")
	// ErrTooLarge: the command alone exceeds the size of a log entry. Not applied.
	ErrTooLarge = errors.New("node: command is larger than a log entry may be")
	// ErrNotApplied: the deadline passed before the command left the queue,
	// mostly because no leader was known.
	ErrNotApplied = errors.New("node: deadline passed before the command was proposed; it was not applied")
	// ErrUnknownOutcome: the deadline passed, or the node stopped, after the
	// command was proposed. It may or may not be applied, now or later.
	ErrUnknownOutcome = errors.New("node: the outcome of the command is unknown")
	// ErrStopped: the node has stopped. A command refused with it was not applied.
	ErrStopped = errors.New("node: stopped")
	// ErrNoLeader: no leader is known, and the call needs one now.
	ErrNoLeader = errors.New("node: no leader")
	// ErrNotLeader: this member does not lead, and only the leader can do it.
	ErrNotLeader = errors.New("node: not the leader")
	// ErrChangePending: a configuration change is under way. Not applied.
	ErrChangePending = errors.New("node: another change of the members is under way")
	// ErrSuperseded: the leader was deposed and its change of the members is
	// lost. Not applied.
	ErrSuperseded = errors.New("node: the leader changed before the change of the members was committed; it was not applied")
	// ErrReadTimeout: a linearizable read could not be confirmed in time.
	ErrReadTimeout = errors.New("node: deadline passed before a read index was confirmed")
)
