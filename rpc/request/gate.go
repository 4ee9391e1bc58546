package request

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
	"unicode/utf8"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"raftkv/rpc/rpcerr"
	"raftkv/statemachine/envelope"
)

// Backend is what a Gate needs of the member that serves. Its methods may be
// called concurrently.
type Backend interface {
	// Propose replicates one command (envelope.EncodeCommand) and waits until
	// this member has applied it. result is the response message, which then
	// belongs to the caller and has Header.Revision set, or an error of the
	// state machine; index is that of the log entry that carried the command.
	// err says that there is no result. Propose owns command from the call on.
	Propose(ctx context.Context, command []byte) (result any, index uint64, err error)
	// ReadIndex returns once local reads are linearizable with respect to
	// everything that was acknowledged before the call.
	ReadIndex(ctx context.Context) error

	ClusterID() uint64
	MemberID() uint64
	// Term is the raft term this member is in.
	Term() uint64
	// Leader is the raft id of the leader this member knows, 0 for none.
	Leader() uint64
	// IsLearner reports whether this member is a learner.
	IsLearner() bool
	// Revision is the newest revision this member has applied.
	Revision() int64
}

// Config bounds what a Gate lets through.
type Config struct {
	// RequestBytesMax bounds the encoded command of one write. Default 1.5 MiB.
	RequestBytesMax int
	// TxnOpsMax bounds compares, success and failure operations of a
	// transaction, each list by itself. Default 128.
	TxnOpsMax int
	// FrameOpsMax bounds the writes and the reads of a frame, each by itself.
	// Default 4096.
	FrameOpsMax int
	// Timeout ends requests that have no earlier deadline. etcd uses 5 s + 2
	// election timeouts. Default 7 s.
	Timeout time.Duration
	// Space is asked before a write that makes the store grow by about growth
	// bytes is proposed, and refuses it if there is no room. Nil: there is.
	Space func(ctx context.Context, growth int64) error
}

// EnsureDefaults fills what is zero.
func (c *Config) EnsureDefaults() {
	if c.RequestBytesMax == 0 {
		c.RequestBytesMax = 3 << 19
	}
	if c.TxnOpsMax == 0 {
		c.TxnOpsMax = 128
	}
	if c.FrameOpsMax == 0 {
		c.FrameOpsMax = 4096
	}
	if c.Timeout == 0 {
		c.Timeout = 7 * time.Second
	}
}

// Validate reports every faulty value.
func (c *Config) Validate() error {
	var faults []error
	if c.RequestBytesMax < 1 {
		faults = append(faults, fmt.Errorf("request: RequestBytesMax %d must be positive", c.RequestBytesMax))
	}
	if c.TxnOpsMax < 1 {
		faults = append(faults, fmt.Errorf("request: TxnOpsMax %d must be positive", c.TxnOpsMax))
	}
	if c.FrameOpsMax < 1 {
		faults = append(faults, fmt.Errorf("request: FrameOpsMax %d must be positive", c.FrameOpsMax))
	}
	if c.Timeout <= 0 {
		faults = append(faults, fmt.Errorf("request: Timeout %v must be positive", c.Timeout))
	}
	return errors.Join(faults...)
}

// Gate stands between the services and the member.
type Gate struct {
	backend Backend
	auth    Authorizer
	table   *rpcerr.Table
	cfg     Config
	// scratch holds *[]byte that requests are serialized into before they are
	// framed as commands.
	scratch sync.Pool
}

// New builds a Gate. auth decides about every operation; AllowAll while there
// is no authentication.
func New(b Backend, auth Authorizer, table *rpcerr.Table, cfg Config) (*Gate, error) {
	cfg.EnsureDefaults()
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if b == nil || auth == nil || table == nil {
		return nil, errors.New("request: a gate needs a backend, an authorizer and an error table")
	}
	g := &Gate{backend: b, auth: auth, table: table, cfg: cfg}
	g.scratch.New = func() any { return new([]byte) }
	return g, nil
}

// Config returns the bounds in force.
func (g *Gate) Config() Config { return g.cfg }

// Serves says which requests a learner answers.
type Serves bool

const (
	// VotersOnly refuses the request on a learner.
	VotersOnly Serves = false
	// LearnersToo is for what needs no quorum: serializable reads and Status.
	LearnersToo Serves = true
)

// Admit makes the checks that depend on the member and on metadata alone.
func (g *Gate) Admit(ctx context.Context, who Serves) error {
	if who == VotersOnly && g.backend.IsLearner() {
		return rpctypes.ErrGRPCNotSupportedForLearner
	}
	if v := metadata.ValueFromIncomingContext(ctx, rpctypes.MetadataClientAPIVersionKey); len(v) > 0 && !utf8.ValidString(v[0]) {
		return rpctypes.ErrGRPCInvalidClientAPIVersion
	}
	if demandsLeader(ctx) && g.backend.Leader() == 0 {
		return rpctypes.ErrGRPCNoLeader
	}
	return nil
}

// Write authorises req, proposes it as a command of the given kind and returns
// its response message and the index of its log entry. The request must have
// been validated.
func (g *Gate) Write(ctx context.Context, kind envelope.Kind, req proto.Message) (any, uint64, error) {
	id, err := g.Authorize(ctx, req)
	if err != nil {
		return nil, 0, err
	}
	command, err := g.encode(kind, id, req)
	if err != nil {
		return nil, 0, err
	}
	ctx, cancel := g.WithTimeout(ctx)
	defer cancel()
	if err := g.room(ctx, req); err != nil {
		return nil, 0, g.WriteError(err)
	}
	result, index, err := g.backend.Propose(ctx, command)
	if err == nil {
		if refused, ok := result.(error); ok {
			err = refused
		}
	}
	if err != nil {
		return nil, 0, g.WriteError(err)
	}
	return result, index, nil
}

// Result asserts the type of a result of Write.
func Result[M proto.Message](result any) (M, error) {
	m, ok := result.(M)
	if !ok {
		return m, status.Errorf(codes.Internal, "raftkv: the state machine answered with %T, not %T", result, m)
	}
	return m, nil
}

// encode serializes req once, into the command that goes to the log.
func (g *Gate) encode(kind envelope.Kind, id Identity, req proto.Message) ([]byte, error) {
	buf := g.scratch.Get().(*[]byte)
	defer g.recycle(buf)
	body, err := proto.MarshalOptions{}.MarshalAppend((*buf)[:0], req)
	if err != nil {
		return nil, status.Errorf(codes.InvalidArgument, "raftkv: encoding the request: %v", err)
	}
	*buf = body
	if len(body) > g.cfg.RequestBytesMax {
		return nil, rpctypes.ErrGRPCRequestTooLarge
	}
	command := envelope.EncodeCommand(envelope.Command{
		Kind: kind, User: id.User, AuthRevision: id.AuthRevision, Body: body,
	})
	if len(command) > g.cfg.RequestBytesMax {
		return nil, rpctypes.ErrGRPCRequestTooLarge
	}
	return command, nil
}

// scratchBytesMax keeps one large value from pinning memory in the pool.
const scratchBytesMax = 64 << 10

func (g *Gate) recycle(buf *[]byte) {
	if cap(*buf) <= scratchBytesMax {
		g.scratch.Put(buf)
	}
}

// Barrier waits until a local read is as fresh as req asks for and then
// authorises it. ctx must come from WithTimeout.
func (g *Gate) Barrier(ctx context.Context, req proto.Message, serializable bool) error {
	if !serializable {
		if err := g.backend.ReadIndex(ctx); err != nil {
			return g.ReadError(ctx, err)
		}
	}
	_, err := g.Authorize(ctx, req)
	return err
}

// bounded is the context of a request that can be given a deadline as it is.
type bounded interface {
	Bound(deadline time.Time, cause error)
	Lift()
	Cause() error
}

// WithTimeout bounds a request by the server's timeout. The cause tells our
// deadline from the client's.
func (g *Gate) WithTimeout(ctx context.Context) (context.Context, context.CancelFunc) {
	end := time.Now().Add(g.cfg.Timeout)
	if d, ok := ctx.Deadline(); ok && d.Before(end) {
		return ctx, func() {}
	}
	if b, ok := ctx.(bounded); ok {
		b.Bound(end, rpctypes.ErrGRPCTimeout)
		return ctx, b.Lift
	}
	return context.WithDeadlineCause(ctx, end, rpctypes.ErrGRPCTimeout)
}

// cause is context.Cause for a context of WithTimeout.
func cause(ctx context.Context) error {
	if b, ok := ctx.(bounded); ok {
		return b.Cause()
	}
	return context.Cause(ctx)
}

// WriteError maps an error of a write. A context that ended says nothing about
// the outcome, whoever set the deadline.
func (g *Gate) WriteError(err error) error {
	if !g.table.Known(err) {
		if errors.Is(err, context.DeadlineExceeded) {
			return rpctypes.ErrGRPCTimeout
		}
		if errors.Is(err, context.Canceled) {
			return rpctypes.ErrGRPCCanceled
		}
	}
	return g.table.GRPC(err)
}

// ReadError maps an error of a read under ctx, which must come from
// WithTimeout. Once ctx has ended, who ended it is the answer: the client, or
// the server's timeout.
func (g *Gate) ReadError(ctx context.Context, err error) error {
	switch {
	case ctx.Err() == nil:
		return g.table.GRPC(err)
	case cause(ctx) == rpctypes.ErrGRPCTimeout:
		return rpctypes.ErrGRPCTimeout
	default:
		return status.FromContextError(ctx.Err()).Err()
	}
}

// FillHeader completes the header of a response: identity and term always, the
// revision where the state machine set none.
func (g *Gate) FillHeader(h *pb.ResponseHeader) *pb.ResponseHeader {
	h = g.FillIdentity(h)
	if h.Revision == 0 {
		h.Revision = g.backend.Revision()
	}
	return h
}

// FillIdentity is FillHeader for responses that carry no revision.
func (g *Gate) FillIdentity(h *pb.ResponseHeader) *pb.ResponseHeader {
	if h == nil {
		h = &pb.ResponseHeader{}
	}
	h.ClusterId = g.backend.ClusterID()
	h.MemberId = g.backend.MemberID()
	h.RaftTerm = g.backend.Term()
	return h
}
