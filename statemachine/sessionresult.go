package statemachine

import (
	"encoding/binary"
	"errors"
	"fmt"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/protobuf/proto"
)

// sessionResultBytesMax bounds the result that a session keeps, so that all
// sessions together need at most 16 MiB of memory. Like sessionsMax it is no
// option.
const sessionResultBytesMax = 2048

// sessionResult is the result of the last command of a session, as it is
// recorded.
type sessionResult struct {
	form byte
	body []byte
}

// Forms of results are part of the format on disk: never reuse a number.
const (
	resultNotKept     = 0 // too large, or of no other form
	resultRefusal     = 1 // body: a code of refusalCodes
	resultPut         = 2
	resultDeleteRange = 3
	resultTxn         = 4
	resultCompaction  = 5
	resultAlarm       = 6
	resultLeaseGrant  = 7
	resultLeaseRevoke = 8
)

// refusalCode is what a session records of a refusal: neither its text, which
// may differ between binaries, nor anything that text names.
type refusalCode struct {
	code byte
	err  error
}

// refusalCodes lists the refusals that a command can end with. Codes are part
// of the format on disk: never reuse one.
func refusalCodes() []refusalCode {
	return []refusalCode{
		{1, ErrCompacted}, {2, ErrFutureRevision}, {3, ErrEmptyKey}, {4, ErrKeyNotFound},
		{5, ErrLeaseNotFound}, {6, ErrValueTooLarge}, {7, ErrNotReadOnly},
		{8, ErrNoSpace}, {9, ErrCorruptAlarm},
		{10, ErrMemberNotFound}, {11, ErrOtherIncarnation},
		{12, ErrClusterVersion}, {13, ErrClusterVersionLowers}, {14, ErrNotYet},
		{15, ErrLeaseExists}, {16, ErrLeaseTTLTooLarge},
	}
}

// newResult returns an empty message of a form, nil if the form has none.
func newResult(form byte) proto.Message {
	switch form {
	case resultPut:
		return &pb.PutResponse{}
	case resultDeleteRange:
		return &pb.DeleteRangeResponse{}
	case resultTxn:
		return &pb.TxnResponse{}
	case resultCompaction:
		return &pb.CompactionResponse{}
	case resultAlarm:
		return &pb.AlarmResponse{}
	case resultLeaseGrant:
		return &pb.LeaseGrantResponse{}
	case resultLeaseRevoke:
		return &pb.LeaseRevokeResponse{}
	}
	return nil
}

func formOf(result any) byte {
	switch result.(type) {
	case *pb.PutResponse:
		return resultPut
	case *pb.DeleteRangeResponse:
		return resultDeleteRange
	case *pb.TxnResponse:
		return resultTxn
	case *pb.CompactionResponse:
		return resultCompaction
	case *pb.AlarmResponse:
		return resultAlarm
	case *pb.LeaseGrantResponse:
		return resultLeaseGrant
	case *pb.LeaseRevokeResponse:
		return resultLeaseRevoke
	}
	return resultNotKept
}

// recordResult makes a record of a command's result.
func recordResult(result any) (sessionResult, error) {
	if refusal, ok := result.(error); ok {
		for _, known := range refusalCodes() {
			if errors.Is(refusal, known.err) {
				return sessionResult{resultRefusal, []byte{known.code}}, nil
			}
		}
		return sessionResult{}, nil
	}
	form := formOf(result)
	if form == resultNotKept {
		return sessionResult{}, nil
	}
	message := result.(proto.Message)
	if proto.Size(message) > sessionResultBytesMax {
		return sessionResult{}, nil
	}
	body, err := proto.MarshalOptions{Deterministic: true}.Marshal(message)
	if err != nil {
		return sessionResult{}, fmt.Errorf("recording the result of a session: %w", err)
	}
	return sessionResult{form, body}, nil
}

// decode returns what recordResult was given: an equal message, an error that
// is the same refusal, or ErrResultNotKept.
func (r sessionResult) decode() (any, error) {
	switch r.form {
	case resultNotKept:
		return ErrResultNotKept, nil
	case resultRefusal:
		for _, known := range refusalCodes() {
			if len(r.body) == 1 && r.body[0] == known.code {
				return known.err, nil
			}
		}
		return nil, fmt.Errorf("%w: refusal %x of a session", ErrForeignState, r.body)
	}
	message := newResult(r.form)
	if message == nil {
		return nil, fmt.Errorf("%w: result of a session has form %d", ErrForeignState, r.form)
	}
	if err := proto.Unmarshal(r.body, message); err != nil {
		return nil, fmt.Errorf("%w: result of a session: %w", ErrForeignState, err)
	}
	return message, nil
}

// A record of the sessions table: sequence and used as 8 bytes each, the form
// of the result as one, and the result's body.
const sessionHeaderLen = 8 + 8 + 1

func (s *session) encode() []byte {
	b := make([]byte, 0, sessionHeaderLen+len(s.result.body))
	b = binary.BigEndian.AppendUint64(b, s.sequence)
	b = binary.BigEndian.AppendUint64(b, s.used)
	b = append(b, s.result.form)
	return append(b, s.result.body...)
}

// decodeSession copies what it keeps. A result that cannot be read is found
// here, and not when it is asked for.
func decodeSession(id uint64, b []byte) (*session, error) {
	if len(b) < sessionHeaderLen {
		return nil, fmt.Errorf("%w: record of session %x has %d bytes", ErrForeignState, id, len(b))
	}
	s := &session{id: id, sequence: binary.BigEndian.Uint64(b), used: binary.BigEndian.Uint64(b[8:]),
		result: sessionResult{form: b[16], body: append([]byte(nil), b[sessionHeaderLen:]...)}}
	if _, err := s.result.decode(); err != nil {
		return nil, fmt.Errorf("record of session %x: %w", id, err)
	}
	return s, nil
}
