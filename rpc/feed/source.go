package feed

import (
	"context"
	"errors"
)

// ErrStopped ends the streams of a member that stops.
var ErrStopped = errors.New("feed: the member stops")

// Spec is a watch to be created.
type Spec struct {
	// ID is chosen by the client; 0: by the stream.
	ID int64
	// End nil: the one key Key; empty: from Key to the end of the key space;
	// else the keys from Key to before End.
	Key, End []byte
	// StartRevision is that of the first event wanted; 0: what comes next.
	StartRevision int64
	// NoPut and NoDelete leave such events out.
	NoPut, NoDelete bool
	// PrevKV adds the version before each change.
	PrevKV bool
	// ProgressNotify asks for a message now and then while there is no event.
	ProgressNotify bool
	// Fragment allows messages to be split.
	Fragment bool
}

// Source opens streams. It may be called concurrently.
type Source interface {
	Open() Stream
}

// Stream is the other end of one Watch call. One goroutine calls Next; the
// other methods may be called beside it, by one goroutine at a time. After Close
// all of them do nothing and return ErrStopped where they return an error.
//
// Answers come through Next like everything else, so that their order says what
// is true: all events of a watch come after its creation and none after its
// cancellation; a message without events that says nothing else (progress, of
// one watch or, with InvalidID, of all) comes after every event up to its
// revision.
type Stream interface {
	// Create adds a watch; the answer is its creation, or a refusal. It waits
	// while too many answers are not taken.
	Create(ctx context.Context, s Spec) error
	// Refuse answers a creation that is not to be.
	Refuse(ctx context.Context, reason string) error
	// Cancel ends a watch. One that is not known is not answered.
	Cancel(ctx context.Context, id int64) error
	// RequestProgress asks for the progress of all watches at a revision not
	// older than the newest one now. It is answered as soon as all of them have
	// come that far; several requests may get one answer.
	RequestProgress()
	// Next returns the next message, and waits for it. The message is the
	// caller's until the next call.
	Next(ctx context.Context) (*Message, error)
	// Close ends all watches.
	Close()
}
