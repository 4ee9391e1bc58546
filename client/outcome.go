package client

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

var (
	// ErrUnknownOutcome is matched by the error of a write that may or may not
	// have been applied. Read the key before you decide whether to repeat it.
	ErrUnknownOutcome = errors.New("the outcome of the write is unknown")
	// ErrNotApplied is matched by every error of a request that surely changed
	// nothing.
	ErrNotApplied = errors.New("not applied")
)

// UnknownOutcomeError is a write that was sent and got no conclusive answer. It
// matches ErrUnknownOutcome.
type UnknownOutcomeError struct {
	Endpoint string
	Err      error
}

func (e *UnknownOutcomeError) Error() string {
	return fmt.Sprintf("outcome unknown: the write was sent to %s and may or may not have been applied: %s", e.Endpoint, reason(e.Err))
}

// Unwrap returns what ended the wait for the answer.
func (e *UnknownOutcomeError) Unwrap() error { return e.Err }

// Is matches ErrUnknownOutcome.
func (e *UnknownOutcomeError) Is(target error) bool { return target == ErrUnknownOutcome }

// RefusedError is a request that a server refused for good: no other endpoint
// was asked. It matches ErrNotApplied, and status.Code tells the server's code.
type RefusedError struct {
	Endpoint string
	Write    bool
	Err      error
}

func (e *RefusedError) Error() string {
	return fmt.Sprintf("refused by %s: %s%s", e.Endpoint, reason(e.Err), notApplied(e.Write))
}

// Unwrap returns the server's status error.
func (e *RefusedError) Unwrap() error { return e.Err }

// Is matches ErrNotApplied.
func (e *RefusedError) Is(target error) bool { return target == ErrNotApplied }

// EndpointError is why one endpoint did not serve a request.
type EndpointError struct {
	Endpoint string
	Err      error
}

func (e *EndpointError) Error() string { return e.Endpoint + ": " + reason(e.Err) }

// Unwrap returns the reason.
func (e *EndpointError) Unwrap() error { return e.Err }

// UnavailableError is a request that no endpoint served. It matches
// ErrNotApplied.
type UnavailableError struct {
	Write bool
	// Endpoints tells the reason of each endpoint that was tried, in order.
	Endpoints []*EndpointError
}

func (e *UnavailableError) Error() string {
	reasons := make([]string, len(e.Endpoints))
	for i, f := range e.Endpoints {
		reasons[i] = f.Error()
	}
	return "no endpoint served the request: " + strings.Join(reasons, "; ") + notApplied(e.Write)
}

// Unwrap returns the reasons.
func (e *UnavailableError) Unwrap() []error {
	list := make([]error, len(e.Endpoints))
	for i, f := range e.Endpoints {
		list[i] = f
	}
	return list
}

// Is matches ErrNotApplied.
func (e *UnavailableError) Is(target error) bool { return target == ErrNotApplied }

func notApplied(write bool) string {
	if write {
		return " (not applied)"
	}
	return ""
}

// verdict is what an error of one attempt means for the request.
type verdict int

const (
	// tryNext: not applied, and another endpoint may serve it.
	tryNext verdict = iota
	// refused: not applied, and every endpoint would say the same.
	refused
	// unknown: a write that may have been applied.
	unknown
)

// judge decides what to do after an attempt failed. sent is whether anything of
// it may have reached the server.
func judge(err error, write, sent bool) verdict {
	switch {
	case !sent:
		return tryNext
	case beforeProposal(err):
		return tryNext
	case isRefusal(status.Code(err)):
		return refused
	case write:
		return unknown
	default:
		return tryNext
	}
}

// beforeProposal recognises the answers that a member gives before it proposes
// anything and that another member need not give.
func beforeProposal(err error) bool {
	switch rpctypes.ErrorDesc(err) {
	case rpctypes.ErrorDesc(rpctypes.ErrGRPCNoLeader),
		rpctypes.ErrorDesc(rpctypes.ErrGRPCNotLeader),
		rpctypes.ErrorDesc(rpctypes.ErrGRPCNotSupportedForLearner),
		rpctypes.ErrorDesc(rpctypes.ErrGRPCUnhealthy), // a change of the members: healthy later, perhaps
		rpctypes.ErrorDesc(rpctypes.ErrGRPCRequestTooManyRequests):
		return true
	}
	return false
}

// isRefusal lists the codes that stand for a decision about the request. The
// others (Unavailable, DeadlineExceeded, Canceled, Unknown, Internal, Aborted,
// DataLoss) may also be given while the write is on its way.
func isRefusal(c codes.Code) bool {
	switch c {
	case codes.InvalidArgument, codes.NotFound, codes.AlreadyExists, codes.PermissionDenied,
		codes.Unauthenticated, codes.FailedPrecondition, codes.OutOfRange,
		codes.ResourceExhausted, codes.Unimplemented:
		return true
	}
	return false
}

// reason is the text of err without the layers that gRPC puts around it.
func reason(err error) string {
	s, ok := status.FromError(err)
	if !ok {
		return err.Error()
	}
	text := s.Message()
	switch s.Code() {
	case codes.DeadlineExceeded:
		return "timed out (" + context.DeadlineExceeded.Error() + ")"
	case codes.Canceled:
		return "canceled"
	}
	if _, nested, ok := strings.Cut(text, "connection error: desc = "); ok {
		text = nested
		if plain, err := strconv.Unquote(nested); err == nil {
			text = plain
		}
	}
	text = strings.TrimPrefix(text, "transport: ")
	text = strings.TrimPrefix(text, "Error while dialing: ")
	if strings.HasPrefix(text, "dial ") { // "dial tcp ADDRESS: ": the address is told anyway
		_, text, _ = strings.Cut(text, ": ")
		text = strings.TrimPrefix(text, "connect: ")
	}
	if text == "" {
		return s.Code().String()
	}
	return text
}
