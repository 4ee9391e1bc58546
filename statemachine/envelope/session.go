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
}

// Field numbers, as in envelope.proto.
const (
	closeSession = 1
	closeUsed    = 2
)

// Encode serializes the record.
func (s SessionClose) Encode() []byte {
	return appendVarint(appendVarint(nil, closeSession, s.Session), closeUsed, s.Used)
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
		}
		return nil
	})
	if err != nil {
		return SessionClose{}, fmt.Errorf("session close: %w", err)
	}
	return s, nil
}
