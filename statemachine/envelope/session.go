package envelope

import (
	"fmt"

	"google.golang.org/protobuf/encoding/protowire"
)

// SessionClose is the body of KindSessionClose. A client that is done closes
// its session; whoever decides that one has expired closes it too.
type SessionClose struct {
	Session uint64
	// Used is the last use of the session that the decision rests on, 0 to
	// close it in any case: a session that was used since stays open.
	Used uint64
	// Term is the raft term of the leader that found the session expired; it has
	// no effect in another term, in which the client may not have been able to
	// use it. 0: its client closes it.
	Term uint64
}

// Field numbers, as in envelope.proto.
const (
	closeSession = 1
	closeUsed    = 2
	closeTerm    = 3
)

// Encode serializes the record.
func (s SessionClose) Encode() []byte {
	b := appendVarint(appendVarint(nil, closeSession, s.Session), closeUsed, s.Used)
	return appendVarint(b, closeTerm, s.Term)
}

// DecodeSessionClose reverses Encode.
func DecodeSessionClose(data []byte) (SessionClose, error) {
	var s SessionClose
	err := eachField(data, func(num protowire.Number, v uint64, _ []byte) error {
		switch num {
		case closeSession:
			s.Session = v
		case closeUsed:
			s.Used = v
		case closeTerm:
			s.Term = v
		}
		return nil
	})
	if err != nil {
		return SessionClose{}, fmt.Errorf("session close: %w", err)
	}
	return s, nil
}
