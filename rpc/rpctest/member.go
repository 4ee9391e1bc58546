package rpctest

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"sync"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/membershippb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/version"
	"google.golang.org/protobuf/proto"

	"raftkv/rpc/etcdv3"
	"raftkv/rpc/feed"
	"raftkv/rpc/kvstream"
	"raftkv/rpc/kvstream/kvpb"
	"raftkv/rpc/web"
	"raftkv/statemachine"
	"raftkv/statemachine/envelope"
)

// Identity of the member.
const (
	ClusterID = 0xc1
	ID        = 0xa1
	Term      = 7
)

// Switches makes a member misbehave. The zero value is a healthy leader.
type Switches struct {
	NoLeader, Learner bool
	// ProposeErr is returned by Propose, Refuse answered as a result.
	ProposeErr, Refuse error
	// ReadIndexErr is returned by ReadIndex.
	ReadIndexErr error
	// RenewNow: renewals of leases that exist need not wait.
	RenewNow bool
	// BlockPropose and BlockReadIndex wait for the end of the context.
	BlockPropose, BlockReadIndex bool
	// Holders is the answer of Holders; HoldersErr its error.
	// A rewrite waits for RewriteLetGo, unless it is nil, and then ends with
	// RewriteErr.
	RewriteLetGo              chan struct{}
	RewriteErr                error
	HoldersHave, HoldersTotal int
	HoldersErr                error
	// SweepErr is returned by AwaitSweep.
	SweepErr error
	// SaveErr is returned by SaveSnapshot, SavedReadErr in the middle of the file.
	SaveErr, SavedReadErr error
	Alarms                []*pb.AlarmMember
	Errors                []string
	// DowngradeTarget is what DowngradeTarget says.
	DowngradeTarget string
	// Stopping is what Stopping returns.
	Stopping chan struct{}
}

// A Member is a backend of every service.
var (
	_ etcdv3.Backend   = (*Member)(nil)
	_ kvstream.Backend = (*Member)(nil)
	_ web.Backend      = (*Member)(nil)
)

// Member is the fake. Use New.
type Member struct {
	// Source feeds watch streams; nil: they end at once.
	Source feed.Source

	mu struct {
		sync.Mutex
		switches   Switches
		keys       map[string]*mvccpb.KeyValue
		revision   int64
		compacted  int64
		index      uint64
		commands   []envelope.Command
		readIndex  int
		ranges     []*pb.RangeRequest
		holdersFor []uint64

		sweepsAwaited []int64
		savesOpen     int
		changes       []string
		leases        leases
		sessions      map[uint64]*session
		enqueued      int
	}
}

// New returns an empty member; its store is at revision 1.
func New() *Member {
	m := &Member{}
	m.mu.keys = make(map[string]*mvccpb.KeyValue)
	m.mu.sessions = make(map[uint64]*session)
	m.mu.revision, m.mu.index = 1, 1
	return m
}

// Switch replaces the switches.
func (m *Member) Switch(s Switches) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.mu.switches = s
}

func (m *Member) switches() Switches {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.mu.switches
}

// Commands returns what was proposed.
func (m *Member) Commands() []envelope.Command {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.mu.commands)
}

// ReadIndexes returns how often ReadIndex was called.
func (m *Member) ReadIndexes() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.mu.readIndex
}

// Ranges returns copies of the range requests that reached the store.
func (m *Member) Ranges() []*pb.RangeRequest {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.mu.ranges)
}

// HoldersFor returns the indexes Holders was asked for.
func (m *Member) HoldersFor() []uint64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.mu.holdersFor)
}

// Propose applies the command at once.
func (m *Member) Propose(ctx context.Context, command []byte) (any, uint64, error) {
	s := m.switches()
	if s.BlockPropose {
		<-ctx.Done()
		return nil, 0, ctx.Err()
	}
	if s.ProposeErr != nil {
		return nil, 0, s.ProposeErr
	}
	e, err := envelope.Decode(envelope.Pack(envelope.Envelope{Proposer: ID, Boot: 1, Batch: 1}, [][]byte{command}))
	if err != nil {
		return nil, 0, fmt.Errorf("rpctest: decoding a command: %w", err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.mu.commands = append(m.mu.commands, e.Commands[0])
	m.mu.index++
	if s.Refuse != nil {
		return s.Refuse, m.mu.index, nil
	}
	result, err := m.applyLocked(e.Commands[0])
	return result, m.mu.index, err
}

func (m *Member) applyLocked(c envelope.Command) (any, error) {
	switch c.Kind {
	case envelope.KindPut, envelope.KindAppend:
		r := &pb.PutRequest{}
		if err := proto.Unmarshal(c.Body, r); err != nil {
			return nil, err
		}
		return m.putLocked(r, c.Kind == envelope.KindAppend), nil
	case envelope.KindDeleteRange:
		r := &pb.DeleteRangeRequest{}
		if err := proto.Unmarshal(c.Body, r); err != nil {
			return nil, err
		}
		return m.deleteLocked(r), nil
	case envelope.KindTxn:
		r := &pb.TxnRequest{}
		if err := proto.Unmarshal(c.Body, r); err != nil {
			return nil, err
		}
		return m.txnLocked(r), nil
	case envelope.KindCompaction:
		r := &pb.CompactionRequest{}
		if err := proto.Unmarshal(c.Body, r); err != nil {
			return nil, err
		}
		return m.compactLocked(r), nil
	case envelope.KindDowngrade:
		r := &membershippb.DowngradeInfoSetRequest{}
		if err := proto.Unmarshal(c.Body, r); err != nil {
			return nil, err
		}
		m.mu.switches.DowngradeTarget = r.GetVer()
		return &pb.EmptyResponse{}, nil
	case envelope.KindLeaseGrant:
		r := &pb.LeaseGrantRequest{}
		if err := proto.Unmarshal(c.Body, r); err != nil {
			return nil, err
		}
		return m.grantLocked(r), nil
	case envelope.KindLeaseRevoke:
		r := &pb.LeaseRevokeRequest{}
		if err := proto.Unmarshal(c.Body, r); err != nil {
			return nil, err
		}
		return m.revokeLocked(r), nil
	case envelope.KindLeaseReads:
		return &pb.EmptyResponse{}, nil
	case envelope.KindSessionOpen, envelope.KindSessionClose, envelope.KindFrame:
		return m.sessionCommandLocked(c)
	case envelope.KindAlarm:
		r := &pb.AlarmRequest{}
		if err := proto.Unmarshal(c.Body, r); err != nil {
			return nil, err
		}
		return &pb.AlarmResponse{Alarms: []*pb.AlarmMember{{MemberID: r.GetMemberID(), Alarm: r.GetAlarm()}}}, nil
	default:
		return nil, fmt.Errorf("rpctest: unknown command kind %d", c.Kind)
	}
}

func (m *Member) headerLocked() *pb.ResponseHeader {
	return &pb.ResponseHeader{Revision: m.mu.revision}
}

func (m *Member) putLocked(r *pb.PutRequest, add bool) *pb.PutResponse {
	m.mu.revision++
	old := m.mu.keys[string(r.GetKey())]
	kv := &mvccpb.KeyValue{
		Key: r.GetKey(), Value: r.GetValue(), Lease: r.GetLease(),
		CreateRevision: m.mu.revision, ModRevision: m.mu.revision, Version: 1,
	}
	if old != nil {
		kv.CreateRevision, kv.Version = old.GetCreateRevision(), old.GetVersion()+1
		if add {
			kv.Value = append(bytes.Clone(old.GetValue()), kv.GetValue()...)
		}
	}
	m.mu.keys[string(r.GetKey())] = kv
	resp := &pb.PutResponse{Header: m.headerLocked()}
	if r.GetPrevKv() {
		resp.PrevKv = old
	}
	return resp
}

func (m *Member) deleteLocked(r *pb.DeleteRangeRequest) *pb.DeleteRangeResponse {
	resp := &pb.DeleteRangeResponse{}
	for _, kv := range m.selectLocked(r.GetKey(), r.GetRangeEnd()) {
		delete(m.mu.keys, string(kv.GetKey()))
		resp.Deleted++
		if r.GetPrevKv() {
			resp.PrevKvs = append(resp.PrevKvs, kv)
		}
	}
	if resp.Deleted > 0 {
		m.mu.revision++
	}
	resp.Header = m.headerLocked()
	return resp
}

func (m *Member) compactLocked(r *pb.CompactionRequest) any {
	switch {
	case r.GetRevision() <= m.mu.compacted:
		return statemachine.ErrCompacted
	case r.GetRevision() > m.mu.revision:
		return statemachine.ErrFutureRevision
	}
	m.mu.compacted = r.GetRevision()
	return &pb.CompactionResponse{Header: m.headerLocked()}
}

func (m *Member) txnLocked(r *pb.TxnRequest) *pb.TxnResponse {
	resp := &pb.TxnResponse{Succeeded: true}
	for _, c := range r.GetCompare() {
		if m.mu.keys[string(c.GetKey())].GetModRevision() != c.GetModRevision() {
			resp.Succeeded = false
		}
	}
	ops := r.GetSuccess()
	if !resp.Succeeded {
		ops = r.GetFailure()
	}
	for _, op := range ops {
		answer := &pb.ResponseOp{}
		switch o := op.GetRequest().(type) {
		case *pb.RequestOp_RequestPut:
			answer.Response = &pb.ResponseOp_ResponsePut{ResponsePut: m.putLocked(o.RequestPut, false)}
		case *pb.RequestOp_RequestDeleteRange:
			answer.Response = &pb.ResponseOp_ResponseDeleteRange{ResponseDeleteRange: m.deleteLocked(o.RequestDeleteRange)}
		case *pb.RequestOp_RequestRange:
			answer.Response = &pb.ResponseOp_ResponseRange{ResponseRange: m.rangeLocked(o.RequestRange)}
		case *pb.RequestOp_RequestTxn:
			answer.Response = &pb.ResponseOp_ResponseTxn{ResponseTxn: m.txnLocked(o.RequestTxn)}
		}
		resp.Responses = append(resp.Responses, answer)
	}
	resp.Header = m.headerLocked()
	return resp
}

// ReadIndex succeeds at once.
func (m *Member) ReadIndex(ctx context.Context) error {
	m.mu.Lock()
	m.mu.readIndex++
	s := m.mu.switches
	m.mu.Unlock()
	if s.BlockReadIndex {
		<-ctx.Done()
		return ctx.Err()
	}
	return s.ReadIndexErr
}

// Range reads the present.
func (m *Member) Range(_ context.Context, r *pb.RangeRequest) (*pb.RangeResponse, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.mu.ranges = append(m.mu.ranges, proto.Clone(r).(*pb.RangeRequest))
	switch {
	case r.GetRevision() > m.mu.revision:
		return nil, fmt.Errorf("reading at %d: %w", r.GetRevision(), statemachine.ErrFutureRevision)
	case r.GetRevision() > 0 && r.GetRevision() < m.mu.compacted:
		return nil, fmt.Errorf("reading at %d: %w", r.GetRevision(), statemachine.ErrCompacted)
	}
	return m.rangeLocked(r), nil
}

// ReadTxn runs a read-only transaction.
func (m *Member) ReadTxn(_ context.Context, r *pb.TxnRequest) (*pb.TxnResponse, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.txnLocked(r), nil
}

func (m *Member) rangeLocked(r *pb.RangeRequest) *pb.RangeResponse {
	kvs := m.selectLocked(r.GetKey(), r.GetRangeEnd())
	resp := &pb.RangeResponse{Header: m.headerLocked(), Count: int64(len(kvs))}
	if r.GetCountOnly() {
		return resp
	}
	if limit := r.GetLimit(); limit > 0 && int64(len(kvs)) > limit {
		kvs, resp.More = kvs[:limit], true
	}
	for _, kv := range kvs {
		kv = proto.Clone(kv).(*mvccpb.KeyValue)
		if r.GetKeysOnly() {
			kv.Value = nil
		}
		resp.Kvs = append(resp.Kvs, kv)
	}
	return resp
}

// selectLocked returns the keys of a range in order.
func (m *Member) selectLocked(key, end []byte) []*mvccpb.KeyValue {
	var kvs []*mvccpb.KeyValue
	for name, kv := range m.mu.keys {
		switch {
		case len(end) == 0 && name != string(key):
		case len(end) != 0 && name < string(key):
		case len(end) != 0 && string(end) != "\x00" && name >= string(end):
		default:
			kvs = append(kvs, kv)
		}
	}
	slices.SortFunc(kvs, func(a, b *mvccpb.KeyValue) int { return bytes.Compare(a.GetKey(), b.GetKey()) })
	return kvs
}

// ClusterID, MemberID, Term, Leader, IsLearner and Revision are header facts.
func (m *Member) ClusterID() uint64 { return ClusterID }

// MemberID returns ID.
func (m *Member) MemberID() uint64 { return ID }

// Term returns Term.
func (m *Member) Term() uint64 { return Term }

// Leader is the member itself unless switched off.
func (m *Member) Leader() uint64 {
	if m.switches().NoLeader {
		return 0
	}
	return ID
}

// IsLearner is a switch.
func (m *Member) IsLearner() bool { return m.switches().Learner }

// Revision is the revision of the store.
func (m *Member) Revision() int64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.mu.revision
}

// Members lists the member itself.
func (m *Member) Members() []*pb.Member {
	return []*pb.Member{{ID: ID, Name: "one", PeerURLs: []string{"http://localhost:2380"}, ClientURLs: []string{"http://localhost:2379"}}}
}

// DowngradeTarget is a switch, which a downgrade moves.
func (m *Member) DowngradeTarget() string { return m.switches().DowngradeTarget }

// Status describes the member.
func (m *Member) Status() etcdv3.Status {
	return etcdv3.Status{
		CommitIndex: 11, AppliedIndex: 10, DBSizeBytes: 4096, DBSizeInUseBytes: 1024, QuotaBytes: 1 << 30,
		Version: "3.7.3", StorageVersion: "3.7.0", Errors: m.switches().Errors,
	}
}

// MemberStatus describes the member to the native service.
func (m *Member) MemberStatus() *kvpb.StatusResponse {
	return &kvpb.StatusResponse{
		Name: "one", Role: kvpb.StatusResponse_LEADER, FirstIndex: 2, LastIndex: 12, CommitIndex: 11, AppliedIndex: 10,
		Members: []*kvpb.Member{{Id: ID, Name: "one"}},
	}
}

// Holders answers what the switches say.
func (m *Member) Holders(_ context.Context, index uint64) (have, total int, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.mu.holdersFor = append(m.mu.holdersFor, index)
	s := m.mu.switches
	return s.HoldersHave, s.HoldersTotal, s.HoldersErr
}

// Rewrite answers what the switches say, after it was let go.
func (m *Member) Rewrite(ctx context.Context) error {
	s := m.switches()
	if s.RewriteLetGo == nil {
		return s.RewriteErr
	}
	select {
	case <-s.RewriteLetGo:
		return s.RewriteErr
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Alarms is a switch.
func (m *Member) Alarms() []*pb.AlarmMember { return m.switches().Alarms }

// Versions are those of etcd 3.7.
func (m *Member) Versions() version.Versions {
	return version.Versions{Server: "3.7.3", Cluster: "3.7.0", Storage: "3.7.0"}
}

// Watches returns Source.
func (m *Member) Watches() feed.Source {
	if m.Source == nil {
		return stopped{}
	}
	return m.Source
}

// stopped is the source of a member that has stopped.
type stopped struct{}

func (stopped) Open() feed.Stream { return stopped{} }

func (stopped) Create(context.Context, feed.Spec) error     { return feed.ErrStopped }
func (stopped) Refuse(context.Context, string) error        { return feed.ErrStopped }
func (stopped) Cancel(context.Context, int64) error         { return feed.ErrStopped }
func (stopped) RequestProgress()                            {}
func (stopped) Next(context.Context) (*feed.Message, error) { return nil, feed.ErrStopped }
func (stopped) Close()                                      {}
