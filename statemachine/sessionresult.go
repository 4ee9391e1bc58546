package statemachine

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/protobuf/proto"
)

// sessionResultBytesMax bounds a result that a session keeps. Like sessionsMax
// it is no option.
const sessionResultBytesMax = 32 << 10

// sessionResult is the result of a command of a session, as it is recorded.
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
	resultFrame       = 9 // body: a serialized WriteResults message
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
		{17, ErrNotNumber}, {18, ErrOverflow}, {19, ErrDenied}, {20, ErrInvalidTxn},
	}
}

// codeOf returns the code of a refusal, 0 if it has none.
func codeOf(refusal error) byte {
	for _, known := range refusalCodes() {
		if errors.Is(refusal, known.err) {
			return known.code
		}
	}
	return 0
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
	switch r := result.(type) {
	case error:
		if code := codeOf(r); code != 0 {
			return sessionResult{resultRefusal, []byte{code}}, nil
		}
		return sessionResult{}, nil
	case *FrameResult:
		if len(r.Writes) > sessionResultBytesMax {
			return sessionResult{}, nil
		}
		return sessionResult{resultFrame, r.Writes}, nil
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
	case resultFrame:
		return &FrameResult{Writes: r.body, Recorded: true}, nil
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

// encode appends the record of a result: its form as one byte, and its body.
func (r sessionResult) encode(b []byte) []byte { return append(append(b, r.form), r.body...) }

// decodeResult copies what it keeps. A result that cannot be read is found here,
// and not when it is asked for.
func decodeResult(b []byte) (sessionResult, error) {
	if len(b) == 0 {
		return sessionResult{}, fmt.Errorf("%w: empty result of a session", ErrForeignState)
	}
	r := sessionResult{form: b[0], body: slices.Clone(b[1:])}
	_, err := r.decode()
	return r, err
}

// A record of the sessions table: sequence and used as 8 bytes each, the length
// of the user's name as a varint, the name, and the last result unless there is
// none.
const sessionHeaderLen = 8 + 8 + 1

func (s *session) encode() []byte {
	size := sessionHeaderLen + binary.MaxVarintLen32 + len(s.user)
	if n := len(s.results); n > 0 {
		size += 1 + len(s.results[n-1].body)
	}
	b := make([]byte, 0, size)
	b = binary.BigEndian.AppendUint64(b, s.sequence)
	b = binary.BigEndian.AppendUint64(b, s.used)
	b = binary.AppendUvarint(b, uint64(len(s.user)))
	b = append(b, s.user...)
	if n := len(s.results); n > 0 {
		b = s.results[n-1].encode(b)
	}
	return b
}

// decodeSession copies what it keeps.
func decodeSession(id uint64, b []byte) (*session, error) {
	bad := func() error { return fmt.Errorf("%w: record of session %x has %d bytes", ErrForeignState, id, len(b)) }
	if len(b) < sessionHeaderLen {
		return nil, bad()
	}
	s := &session{id: id, sequence: binary.BigEndian.Uint64(b), used: binary.BigEndian.Uint64(b[8:])}
	user, n := binary.Uvarint(b[16:])
	if n <= 0 || uint64(len(b)-16-n) < user {
		return nil, bad()
	}
	rest := b[16+n:]
	s.user, rest = string(rest[:user]), rest[user:]
	if (len(rest) > 0) != (s.sequence > 0) {
		return nil, bad()
	}
	if s.sequence == 0 {
		return s, nil
	}
	last, err := decodeResult(rest)
	if err != nil {
		return nil, fmt.Errorf("record of session %x: %w", id, err)
	}
	s.results, s.bytes = []sessionResult{last}, len(last.body)
	return s, nil
}
