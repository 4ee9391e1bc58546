package statemachine

import (
	"errors"

	"raftkv/statemachine/engine"
	"raftkv/statemachine/kv"
	"raftkv/statemachine/mvcc"
)

// Refusals of reads and key-value commands.
var (
	ErrCompacted      = mvcc.ErrCompacted
	ErrFutureRevision = mvcc.ErrFutureRevision
	ErrEmptyKey       = kv.ErrEmptyKey
	ErrKeyNotFound    = kv.ErrKeyNotFound
	ErrLeaseNotFound  = kv.ErrLeaseNotFound
	ErrValueTooLarge  = kv.ErrValueTooLarge
	ErrNotReadOnly    = kv.ErrNotReadOnly
	ErrNotNumber      = kv.ErrNotNumber
	ErrOverflow       = kv.ErrOverflow
	// ErrResponseTooLarge: a read takes more than Options.ResponseBytesMax.
	ErrResponseTooLarge = kv.ErrResponseTooLarge
	// ErrCorrupt: the key space on disk is not what was written.
	ErrCorrupt = mvcc.ErrCorrupt
)

// Refusals because of an alarm.
var (
	ErrNoSpace      = errors.New("statemachine: no space, NOSPACE alarm is active")
	ErrCorruptAlarm = errors.New("statemachine: CORRUPT alarm is active")
)

// Refusals of commands about members and the cluster.
var (
	ErrMemberExists         = errors.New("statemachine: member already exists")
	ErrMemberRemoved        = errors.New("statemachine: member id was removed and is never used again")
	ErrMemberNotFound       = errors.New("statemachine: member not found")
	ErrMemberNotLearner     = errors.New("statemachine: member is not a learner")
	ErrPeerURLExists        = errors.New("statemachine: peer URL already exists")
	ErrMemberChangeRefused  = errors.New("statemachine: membership change refused")
	ErrClusterVersion       = errors.New("statemachine: invalid cluster version")
	ErrClusterVersionLowers = errors.New("statemachine: cluster version only rises")
	// ErrOtherIncarnation: a member published another data directory than the
	// one it is known with.
	ErrOtherIncarnation = errors.New("statemachine: member is known with another data directory")
	// ErrNotYet: the cluster version does not allow the command yet.
	ErrNotYet = errors.New("statemachine: command is newer than the cluster version")
	// ErrLeasePromise: lease reads with a promise out of bounds.
	ErrLeasePromise = errors.New("statemachine: invalid length of a promise")
)

// Refusals of commands about leases, beside ErrLeaseNotFound.
var (
	ErrLeaseExists      = errors.New("statemachine: lease already exists")
	ErrLeaseTTLTooLarge = errors.New("statemachine: too large lease TTL")
	// ErrLeaseTerm: a leader decided it whose term is over.
	ErrLeaseTerm = errors.New("statemachine: lease expiry was decided in another term")
)

// Refusals of commands of sessions, and about them.
var (
	// ErrSessionUnknown: the session was closed, was evicted, or never was.
	// What became of its last command cannot be found out from it.
	ErrSessionUnknown = errors.New("statemachine: session not found")
	// ErrSessionForeign: another user opened the session.
	ErrSessionForeign = errors.New("statemachine: session belongs to another user")
	// ErrSessionTerm: a leader found it expired whose term is over.
	ErrSessionTerm = errors.New("statemachine: session expiry was decided in another term")
	// ErrSessionUsed: the session was used after the decision to close it.
	ErrSessionUsed = errors.New("statemachine: session was used meanwhile")
	// ErrSequencePast: a command whose result the client has acknowledged; it was
	// applied once.
	ErrSequencePast = errors.New("statemachine: sequence number is past, its result is no longer known")
	// ErrDenied: the member that proposed a write of a frame found that its
	// client may not do it.
	ErrDenied = errors.New("statemachine: permission denied")
	// ErrInvalidTxn: or that it is a transaction which is not valid.
	ErrInvalidTxn = errors.New("statemachine: invalid transaction")
	// ErrSequenceGap: the command before this one was not applied.
	ErrSequenceGap = errors.New("statemachine: sequence number leaves a gap")
	// ErrResultNotKept: the command was applied, and is asked for again, but its
	// result is not known any more.
	ErrResultNotKept = errors.New("statemachine: command was applied before, its result was not kept")
)

// Failures.
var (
	// ErrUnknownCommand: the log holds a command that this binary does not
	// know. Fatal, see the package's failure policy.
	ErrUnknownCommand = errors.New("statemachine: unknown command, this binary is older than the cluster's data")
	// ErrNewerCluster: the log or the state was written for a cluster version
	// that this binary does not know. Fatal, like ErrUnknownCommand.
	ErrNewerCluster = errors.New("statemachine: this binary is older than the cluster")
	// ErrMalformedEntry: a log entry cannot be decoded. Fatal.
	ErrMalformedEntry = errors.New("statemachine: malformed log entry")
	// ErrOutOfOrder: the caller of Apply broke its contract. Fatal.
	ErrOutOfOrder = errors.New("statemachine: log entries out of order")
	// ErrAlreadyInitialized: Bootstrap of a directory that holds state.
	ErrAlreadyInitialized = errors.New("statemachine: state is already initialized")
	// ErrNotInitialized: the directory holds no state yet.
	ErrNotInitialized = errors.New("statemachine: state is not initialized")
	// ErrForeignState: a database that belongs to another cluster, or that this
	// binary cannot read.
	ErrForeignState = errors.New("statemachine: state cannot be used here")
	// ErrDirectory: the state directory is damaged or foreign.
	ErrDirectory = engine.ErrDirectory
	// ErrClosed: the machine was closed.
	ErrClosed = engine.ErrClosed
)
