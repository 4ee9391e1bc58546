package envelope

import (
	"errors"
	"fmt"
	"math"

	"google.golang.org/protobuf/encoding/protowire"
)

// Format is the version of the envelope's encoding (invariant 10).
const Format = 1

// Kind says what a command does and which message its body is.
type Kind uint32

// Kinds are part of the log's format: never reuse a number.
const (
	KindPut            Kind = 1  // etcdserverpb.PutRequest
	KindDeleteRange    Kind = 2  // etcdserverpb.DeleteRangeRequest
	KindTxn            Kind = 3  // etcdserverpb.TxnRequest
	KindCompaction     Kind = 4  // etcdserverpb.CompactionRequest
	KindAppend         Kind = 5  // etcdserverpb.PutRequest whose value is appended
	KindPublishMember  Kind = 6  // PublishMember: what a started member says of itself
	KindClusterVersion Kind = 7  // membershippb.ClusterVersionSetRequest
	KindMemberChange   Kind = 8  // etcdserverpb.Member, only as the context of a raft configuration change
	KindAlarm          Kind = 9  // etcdserverpb.AlarmRequest: an operator activates or deactivates an alarm
	KindOwnAlarm       Kind = 10 // etcdserverpb.AlarmRequest: a member activates an alarm of its own, or takes it back
	KindSessionOpen    Kind = 11 // no body: opens a client session
	KindSessionClose   Kind = 12 // SessionClose: ends a client session, at its client's wish or because it expired
	KindLeaseGrant     Kind = 13 // etcdserverpb.LeaseGrantRequest with the id chosen and the TTL in bounds
	KindLeaseRevoke    Kind = 14 // LeaseRevoke: at a client's wish (then also an etcdserverpb.LeaseRevokeRequest) or because it expired
	KindLeaseRemaining Kind = 15 // LeaseRemaining: what is left of long leases
	KindDowngrade      Kind = 16 // membershippb.DowngradeInfoSetRequest
	KindFrame          Kind = 17 // Frame: independent writes of a client, each with a result of its own
	KindLeaseReads     Kind = 18 // LeaseReads: whether leaders may answer reads by leases, and for how long voters promise
)

// CommandsMax bounds the commands of one envelope, so that index<<16 | position
// names a command for ever.
const CommandsMax = 1 << 16

// Envelope is the payload of one raft entry: a batch of commands that one
// member packed.
type Envelope struct {
	// Proposer is the raft id of the member that packed the batch, Boot counts
	// the starts of that member's data directory and Batch the batches of that
	// boot, from 1. The three name a batch for ever.
	Proposer, Boot, Batch uint64
	// ClusterVersion is the version the proposer took the cluster to have,
	// major<<16 | minor<<8 | patch; 0 while none is set. A binary that does not
	// know it must not apply the batch.
	ClusterVersion uint32
	Commands       []Command
}

// Command is one replicated operation.
type Command struct {
	Kind Kind
	// User and AuthRevision are the authorisation context: who asked, and the
	// revision of the auth tables the permission was checked at. Empty while
	// authentication is off.
	User         string
	AuthRevision uint64
	// Session and Sequence make a retry recognisable; 0 when the client has no
	// session. They mean nothing in commands about sessions themselves.
	Session, Sequence uint64
	// Body is the serialized request; Kind says of which message.
	Body []byte
}

// Field numbers, as in envelope.proto.
const (
	fieldFormat         = 1
	fieldProposer       = 2
	fieldBoot           = 3
	fieldBatch          = 4
	fieldClusterVersion = 5
	fieldCommand        = 6

	fieldKind         = 1
	fieldUser         = 2
	fieldAuthRevision = 3
	fieldSession      = 4
	fieldSequence     = 5
	fieldBody         = 6
)

// ErrMalformed is wrapped by every error of Decode.
var ErrMalformed = errors.New("envelope: malformed")

// EncodeCommand serializes one command, ready to be packed.
func EncodeCommand(c Command) []byte {
	b := c.appendHead(make([]byte, 0, len(c.Body)+len(c.User)+32))
	b = protowire.AppendTag(b, fieldBody, protowire.BytesType)
	return protowire.AppendBytes(b, c.Body)
}

// appendHead appends everything but the body.
func (c *Command) appendHead(b []byte) []byte {
	b = appendVarint(b, fieldKind, uint64(c.Kind))
	if c.User != "" {
		b = protowire.AppendTag(b, fieldUser, protowire.BytesType)
		b = protowire.AppendString(b, c.User)
	}
	b = appendVarint(b, fieldAuthRevision, c.AuthRevision)
	b = appendVarint(b, fieldSession, c.Session)
	return appendVarint(b, fieldSequence, c.Sequence)
}

// Pack builds an envelope from commands that EncodeCommand serialized. The
// Commands of e are ignored.
func Pack(e Envelope, commands [][]byte) []byte {
	n := 64
	for _, c := range commands {
		n += len(c) + 8
	}
	b := make([]byte, 0, n)
	b = appendVarint(b, fieldFormat, Format)
	b = appendVarint(b, fieldProposer, e.Proposer)
	b = appendVarint(b, fieldBoot, e.Boot)
	b = appendVarint(b, fieldBatch, e.Batch)
	b = appendVarint(b, fieldClusterVersion, uint64(e.ClusterVersion))
	for _, c := range commands {
		b = protowire.AppendTag(b, fieldCommand, protowire.BytesType)
		b = protowire.AppendBytes(b, c)
	}
	return b
}

// Decode parses an envelope. The bodies alias data. An envelope of a newer
// format is refused, as is anything malformed.
func Decode(data []byte) (Envelope, error) {
	var e Envelope
	format := uint64(0)
	err := eachField(data, func(num protowire.Number, v uint64, b []byte) error {
		switch num {
		case fieldFormat:
			format = v
		case fieldProposer:
			e.Proposer = v
		case fieldBoot:
			e.Boot = v
		case fieldBatch:
			e.Batch = v
		case fieldClusterVersion:
			if v > math.MaxUint32 {
				return fmt.Errorf("%w: cluster version %d", ErrMalformed, v)
			}
			e.ClusterVersion = uint32(v)
		case fieldCommand:
			if len(e.Commands) == CommandsMax {
				return fmt.Errorf("%w: more than %d commands", ErrMalformed, CommandsMax)
			}
			c, err := decodeCommand(b)
			if err != nil {
				return err
			}
			e.Commands = append(e.Commands, c)
		}
		return nil
	})
	if err != nil {
		return Envelope{}, err
	}
	if format != Format {
		return Envelope{}, fmt.Errorf("%w: format %d, this binary knows %d only", ErrMalformed, format, Format)
	}
	return e, nil
}

func decodeCommand(data []byte) (Command, error) {
	var c Command
	err := eachField(data, func(num protowire.Number, v uint64, b []byte) error {
		switch num {
		case fieldKind:
			// Cut to 32 bits it could pass for a kind that it is not.
			if v > math.MaxUint32 {
				return fmt.Errorf("%w: kind %d", ErrMalformed, v)
			}
			c.Kind = Kind(v)
		case fieldUser:
			c.User = string(b)
		case fieldAuthRevision:
			c.AuthRevision = v
		case fieldSession:
			c.Session = v
		case fieldSequence:
			c.Sequence = v
		case fieldBody:
			c.Body = b
		}
		return nil
	})
	return c, err
}

// eachField walks the varint and bytes fields of a message; other wire types
// are skipped.
func eachField(data []byte, f func(num protowire.Number, v uint64, b []byte) error) error {
	for len(data) > 0 {
		num, typ, n := protowire.ConsumeTag(data)
		if n < 0 {
			return fmt.Errorf("%w: %v", ErrMalformed, protowire.ParseError(n))
		}
		data = data[n:]
		var v uint64
		var b []byte
		switch typ {
		case protowire.VarintType:
			v, n = protowire.ConsumeVarint(data)
		case protowire.BytesType:
			b, n = protowire.ConsumeBytes(data)
		default:
			n = protowire.ConsumeFieldValue(num, typ, data)
		}
		if n < 0 {
			return fmt.Errorf("%w: %v", ErrMalformed, protowire.ParseError(n))
		}
		data = data[n:]
		if typ != protowire.VarintType && typ != protowire.BytesType {
			continue
		}
		if err := f(num, v, b); err != nil {
			return err
		}
	}
	return nil
}

func appendVarint(b []byte, num protowire.Number, v uint64) []byte {
	if v == 0 {
		return b
	}
	b = protowire.AppendTag(b, num, protowire.VarintType)
	return protowire.AppendVarint(b, v)
}
