package client

import (
	"errors"
	"fmt"
	"strings"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"raftkv/rpc/kvstream/kvpb"
)

var (
	// ErrApplied is matched by the error of a write that was applied, once, but
	// whose result is not known any more.
	ErrApplied = errors.New("applied")
	// ErrSessionClosed: the Session was closed.
	ErrSessionClosed = errors.New("the session is closed")
	// ErrTooManyCalls: more calls wait than SessionConfig.Calls.
	ErrTooManyCalls = errors.New("too many calls wait in the session")
)

// errSessionGone: the cluster has forgotten the session with frames in flight.
var errSessionGone = errors.New("the cluster does not know the session any more: it expired, or others took its place")

// AppliedError is a write that was applied and whose result was lost. It matches
// ErrApplied.
type AppliedError struct{ Err error }

func (e *AppliedError) Error() string {
	return fmt.Sprintf("the write was applied, but its result is not known any more: %s", reason(e.Err))
}

// Unwrap returns why the result is not known.
func (e *AppliedError) Unwrap() error { return e.Err }

// Is matches ErrApplied.
func (e *AppliedError) Is(target error) bool { return target == ErrApplied }

// verdictOnFrame is what the refusal of a frame means.
type verdictOnFrame int

const (
	frameAgain   verdictOnFrame = iota // send it again: here, or to another member
	frameRefused                       // every member would refuse it
	frameLost                          // its session is no more
	frameApplied                       // it was applied, its results are gone
)

// Texts of the server that tell refusals of the same code apart.
const (
	textSessionUnknown = "raftkv: session not found"
	textResultNotKept  = "raftkv: command was applied before"
	textSequencePast   = "raftkv: sequence number is past"
	textGap            = "raftkv: sequence number leaves a gap"
	textOtherCluster   = "raftkv: session belongs to cluster"
)

func frameVerdict(err error) verdictOnFrame {
	text := status.Convert(err).Message()
	switch {
	case strings.HasPrefix(text, textSessionUnknown), strings.HasPrefix(text, textOtherCluster):
		return frameLost
	case strings.HasPrefix(text, textResultNotKept), strings.HasPrefix(text, textSequencePast):
		return frameApplied
	case strings.HasPrefix(text, textGap), beforeProposal(err):
		return frameAgain
	}
	switch status.Code(err) {
	case codes.InvalidArgument, codes.PermissionDenied, codes.Unauthenticated, codes.FailedPrecondition, codes.Unimplemented, codes.DataLoss:
		return frameRefused
	}
	return frameAgain
}

// isTooLarge recognises what gRPC ends a stream with whose message it does not
// read.
func isTooLarge(err error) bool {
	return status.Code(err) == codes.ResourceExhausted && strings.Contains(status.Convert(err).Message(), "larger than max")
}

// stays tells that a stream ended for a reason that another member would not
// make go away.
func stays(err error) bool {
	if errors.Is(err, errSessionGone) || rpctypes.ErrorDesc(err) == rpctypes.ErrorDesc(rpctypes.ErrGRPCRequestTooManyRequests) {
		return true
	}
	if isTooLarge(err) {
		return true
	}
	v := frameVerdict(err)
	return v != frameAgain || strings.HasPrefix(status.Convert(err).Message(), textGap)
}

// refusal is the error of one operation that was refused by itself, nil for 0.
func refusal(code int32, e *endpoint, write bool) error {
	if code == 0 {
		return nil
	}
	return &RefusedError{Endpoint: e.address, Write: write, Err: refusalStatus(kvpb.Refusal(code))}
}

func refusalStatus(r kvpb.Refusal) error {
	switch r {
	case kvpb.Refusal_COMPACTED:
		return rpctypes.ErrGRPCCompacted
	case kvpb.Refusal_FUTURE_REVISION:
		return rpctypes.ErrGRPCFutureRev
	case kvpb.Refusal_EMPTY_KEY:
		return rpctypes.ErrGRPCEmptyKey
	case kvpb.Refusal_KEY_NOT_FOUND:
		return rpctypes.ErrGRPCKeyNotFound
	case kvpb.Refusal_LEASE_NOT_FOUND:
		return rpctypes.ErrGRPCLeaseNotFound
	case kvpb.Refusal_VALUE_TOO_LARGE:
		return rpctypes.ErrGRPCRequestTooLarge
	case kvpb.Refusal_NO_SPACE:
		return rpctypes.ErrGRPCNoSpace
	case kvpb.Refusal_CORRUPT:
		return rpctypes.ErrGRPCCorrupt
	case kvpb.Refusal_NOT_NUMBER:
		return status.Error(codes.FailedPrecondition, "raftkv: value is not a decimal number of 64 bits")
	case kvpb.Refusal_OVERFLOW:
		return status.Error(codes.OutOfRange, "raftkv: sum does not fit into 64 bits")
	case kvpb.Refusal_PERMISSION_DENIED:
		return rpctypes.ErrGRPCPermissionDenied
	case kvpb.Refusal_INVALID_TXN:
		return status.Error(codes.InvalidArgument, "raftkv: transaction is invalid: too many operations, a key that is written twice, or an empty operation")
	}
	return status.Errorf(codes.Unknown, "raftkv: refused with code %d", int32(r))
}
