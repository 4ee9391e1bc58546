package rpcerr

import (
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"raftkv/node"
	"raftkv/statemachine"
)

// nodePairs are the errors of the node. ErrUnknownOutcome is the only one of a
// write that is answered "request timed out", by which clients tell an open
// outcome; all others promise that the write was not and will not be applied.
func nodePairs() []Pair {
	return []Pair{
		{node.ErrUnknownOutcome, rpctypes.ErrGRPCTimeout},
		// A read has no outcome to be unknown.
		{node.ErrReadTimeout, rpctypes.ErrGRPCTimeout},
		// The command never left the queue, mostly for want of a leader.
		{node.ErrNotApplied, rpctypes.ErrGRPCNoLeader},
		{node.ErrNoLeader, rpctypes.ErrGRPCNoLeader},
		{node.ErrNotLeader, rpctypes.ErrGRPCNotLeader},
		{node.ErrSuperseded, rpctypes.ErrGRPCLeaderChanged},
		{node.ErrChangePending, own(codes.FailedPrecondition, "another change of the members is under way")},
		{node.ErrBusy, rpctypes.ErrGRPCRequestTooManyRequests},
		{node.ErrTooLarge, rpctypes.ErrGRPCRequestTooLarge},
		{node.ErrStopped, rpctypes.ErrGRPCStopped},
	}
}

// statePairs are the refusals of the state machine, and the two states of it
// in which it cannot be read.
func statePairs() []Pair {
	return []Pair{
		{statemachine.ErrCompacted, rpctypes.ErrGRPCCompacted},
		{statemachine.ErrFutureRevision, rpctypes.ErrGRPCFutureRev},
		{statemachine.ErrEmptyKey, rpctypes.ErrGRPCEmptyKey},
		{statemachine.ErrKeyNotFound, rpctypes.ErrGRPCKeyNotFound},
		{statemachine.ErrLeaseNotFound, rpctypes.ErrGRPCLeaseNotFound},
		{statemachine.ErrValueTooLarge, rpctypes.ErrGRPCRequestTooLarge},

		{statemachine.ErrResponseTooLarge, own(codes.ResourceExhausted,
			"response is larger than --max-response-bytes allows: read it in pages, with a limit, or by RangeStream")},
		{statemachine.ErrLeaseExists, rpctypes.ErrGRPCLeaseExist},
		{statemachine.ErrLeaseTTLTooLarge, rpctypes.ErrGRPCLeaseTTLTooLarge},

		{statemachine.ErrNoSpace, rpctypes.ErrGRPCNoSpace},
		{statemachine.ErrCorruptAlarm, rpctypes.ErrGRPCCorrupt},

		{statemachine.ErrMemberExists, rpctypes.ErrGRPCMemberExist},
		{statemachine.ErrMemberRemoved, rpctypes.ErrGRPCMemberNotFound},
		{statemachine.ErrMemberNotFound, rpctypes.ErrGRPCMemberNotFound},
		{statemachine.ErrMemberNotLearner, rpctypes.ErrGRPCMemberNotLearner},
		{statemachine.ErrPeerURLExists, rpctypes.ErrGRPCPeerURLExist},

		{statemachine.ErrMemberChangeRefused, own(codes.FailedPrecondition, "this change of the members is refused: it would leave no voting member, or is not one change")},
		{statemachine.ErrOtherIncarnation, own(codes.FailedPrecondition, "member is known with another data directory")},
		{statemachine.ErrNotYet, own(codes.FailedPrecondition, "cluster version does not allow this command yet")},
		{statemachine.ErrLeasePromise, own(codes.InvalidArgument, "promise of lease reads must take 20 ms to 60 s")},
		{statemachine.ErrSessionUnknown, own(codes.NotFound, "session not found")},
		{statemachine.ErrSessionUsed, own(codes.FailedPrecondition, "session was used meanwhile")},
		{statemachine.ErrSessionForeign, own(codes.PermissionDenied, "session belongs to another user")},
		{statemachine.ErrSessionTerm, own(codes.FailedPrecondition, "session expiry was decided in another term")},
		{statemachine.ErrNotNumber, own(codes.FailedPrecondition, "value is not a decimal number of 64 bits")},
		{statemachine.ErrOverflow, own(codes.OutOfRange, "sum does not fit into 64 bits")},
		{statemachine.ErrDenied, own(codes.PermissionDenied, "permission denied")},
		{statemachine.ErrInvalidTxn, own(codes.InvalidArgument, "transaction is invalid: too many operations, a key that is written twice, or an empty operation")},
		// Past for ever; what leaves a gap may be sent again behind the rest.
		{statemachine.ErrSequencePast, own(codes.FailedPrecondition, "sequence number is past, its result is no longer known")},
		{statemachine.ErrSequenceGap, own(codes.OutOfRange, "sequence number leaves a gap")},
		{statemachine.ErrResultNotKept, own(codes.FailedPrecondition, "command was applied before, its result was not kept")},

		// A joining member that waits for its snapshot knows no leader either.
		{statemachine.ErrNotInitialized, rpctypes.ErrGRPCNoLeader},
		{statemachine.ErrClosed, rpctypes.ErrGRPCStopped},
	}
}

// own is the status of what etcd does not know.
func own(code codes.Code, text string) error { return status.Error(code, "raftkv: "+text) }
