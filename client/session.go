package client

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/protobuf/proto"

	"raftkv/rpc/kvstream/frames"
	"raftkv/rpc/kvstream/kvpb"
)

// SessionConfig sets up a Session.
type SessionConfig struct {
	// Timeout bounds a call whose context has no deadline. 0 means 10 s.
	Timeout time.Duration
	// FramesInFlight bounds the frames under way; what is called meanwhile becomes
	// the next one. More of them serve a lone caller less well and many callers at
	// a higher cost. 0 means 2.
	FramesInFlight int
	// FrameOps and FrameBytes bound one frame; one operation that is larger goes
	// alone. 0 means 1024 and 512 KiB.
	FrameOps, FrameBytes int
	// Calls bounds the calls that wait to be sent; more are refused at once. 0
	// means 65536.
	Calls int
	// StallTimeout is how long a member may take for a frame before it is sent to
	// another as well. 0 means 2 s.
	StallTimeout time.Duration
}

// EnsureDefaults fills in what was left out.
func (c *SessionConfig) EnsureDefaults() {
	for _, d := range []struct {
		v   *int
		def int
	}{{&c.FramesInFlight, 2}, {&c.FrameOps, 1024}, {&c.FrameBytes, 512 << 10}, {&c.Calls, 64 << 10}} {
		if *d.v == 0 {
			*d.v = d.def
		}
	}
	if c.Timeout == 0 {
		c.Timeout = 10 * time.Second
	}
	if c.StallTimeout == 0 {
		c.StallTimeout = 2 * time.Second
	}
}

// Validate reports everything that is wrong with c.
func (c *SessionConfig) Validate() error {
	var faults []error
	for _, n := range []struct {
		name string
		v    int
	}{{"FramesInFlight", c.FramesInFlight}, {"FrameOps", c.FrameOps}, {"FrameBytes", c.FrameBytes}, {"Calls", c.Calls},
		{"Timeout", int(c.Timeout)}, {"StallTimeout", int(c.StallTimeout)}} {
		if n.v < 0 {
			faults = append(faults, fmt.Errorf("%s %d is negative", n.name, n.v))
		}
	}
	if c.FramesInFlight > 64 {
		faults = append(faults, fmt.Errorf("FramesInFlight %d: a member takes 64 at most", c.FramesInFlight))
	}
	if c.FrameOps > 4096 {
		faults = append(faults, fmt.Errorf("FrameOps %d: a member takes 4096 at most", c.FrameOps))
	}
	return errors.Join(faults...)
}

// Session is the pipelined way to use a cluster: calls that are made at the same
// time share frames, and each write takes effect once, even if it has to be sent
// several times because a connection broke or the leader changed.
//
// It may be used from many goroutines; that is what makes it fast.
type Session struct {
	client *Client
	cfg    SessionConfig
	writes *lane
	reads  *lane
	stale  *lane

	cancel  context.CancelFunc
	running sync.WaitGroup
}

// NewSession makes a session. It connects to nothing yet; the cluster hears of it
// with the first write. Close it before its Client.
func (c *Client) NewSession(cfg SessionConfig) (*Session, error) {
	cfg.EnsureDefaults()
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("session configuration: %w", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	s := &Session{client: c, cfg: cfg, cancel: cancel}
	s.writes = newLane(c, cfg, laneWrites)
	s.reads = newLane(c, cfg, laneReads)
	s.stale = newLane(c, cfg, laneStale)
	for _, l := range []*lane{s.writes, s.reads, s.stale} {
		s.running.Go(func() { l.run(ctx) })
	}
	return s, nil
}

// closeTimeout bounds how long Close waits for the cluster to hear of it.
const closeTimeout = time.Second

// Close ends the session. Calls under way fail: writes with an unknown outcome
// if they had been sent. The cluster is told, as a courtesy: a session that
// nobody uses expires.
func (s *Session) Close() {
	s.cancel()
	s.running.Wait()
	s.writes.closeSession(closeTimeout)
}

// Value is what a key holds.
type Value struct {
	Bytes []byte
	// Revisions of the store when the key was created and last modified, how
	// often it was written since, and its lease, 0 for none.
	CreateRevision, ModRevision, Version, Lease int64
}

// Get reads a key: everything that was acknowledged before the call. It asks the
// member that answers fastest. found is whether the key exists.
func (s *Session) Get(ctx context.Context, key []byte) (v Value, found bool, err error) {
	return s.get(ctx, s.reads, key)
}

// GetStale reads what a member has applied, which may be out of date. It needs
// neither a leader nor a quorum.
func (s *Session) GetStale(ctx context.Context, key []byte) (v Value, found bool, err error) {
	return s.get(ctx, s.stale, key)
}

func (s *Session) get(ctx context.Context, l *lane, key []byte) (Value, bool, error) {
	c := l.newCall()
	c.key = key
	if err := l.do(ctx, c); err != nil {
		return Value{}, false, err
	}
	r := c.read
	l.recycle(c)
	// It lies among the values of others that were read with it.
	return Value{Bytes: bytes.Clone(r.Value), CreateRevision: r.CreateRevision, ModRevision: r.ModRevision, Version: r.Version, Lease: r.Lease}, r.ModRevision > 0, nil
}

// Write is one write, for Session.Write. The other methods are shorthands.
type Write struct {
	frames.Write
	// CountHolders waits up to 100 ms after the commit for the remaining members
	// and tells how many hold the write durably.
	CountHolders bool
}

// What a Write does.
const (
	OpPut            = frames.Put
	OpAppend         = frames.Append
	OpDelete         = frames.Delete
	OpCompareAndSwap = frames.CompareAndSwap
	OpIncrement      = frames.Increment
	OpTxn            = frames.Txn
)

// Written is the result of a Write.
type Written struct {
	frames.WriteResult
	// Index is that of the log entry. Holders of Members have the write on disk;
	// 0 of 0 if that was not asked for or could not be learnt.
	Index            uint64
	Holders, Members uint32
}

// Write does one write. Its error matches ErrNotApplied, ErrApplied or
// ErrUnknownOutcome. Byte slices of w must not change until it returns.
func (s *Session) Write(ctx context.Context, w Write) (Written, error) {
	c := s.writes.newCall()
	c.write, c.countHolders = w.Write, w.CountHolders
	if err := s.writes.do(ctx, c); err != nil {
		return Written{}, err
	}
	out := c.written
	s.writes.recycle(c)
	return out, nil
}

// Put writes a key and returns the revision of the store after it.
func (s *Session) Put(ctx context.Context, key, value []byte) (revision int64, err error) {
	r, err := s.Write(ctx, Write{Write: frames.Write{Op: OpPut, Key: key, Value: value}})
	return r.Revision, err
}

// Append adds value to the end of the key's value and returns the length after
// it. A missing key counts as empty.
func (s *Session) Append(ctx context.Context, key, value []byte) (length int64, err error) {
	r, err := s.Write(ctx, Write{Write: frames.Write{Op: OpAppend, Key: key, Value: value}})
	return r.Length, err
}

// Delete removes a key and tells whether it existed.
func (s *Session) Delete(ctx context.Context, key []byte) (existed bool, err error) {
	r, err := s.Write(ctx, Write{Write: frames.Write{Op: OpDelete, Key: key}})
	return r.Deleted > 0, err
}

// CompareAndSwap puts a value if the key holds expected; nil expects that the key
// is missing.
func (s *Session) CompareAndSwap(ctx context.Context, key, expected, value []byte) (swapped bool, err error) {
	r, err := s.Write(ctx, Write{Write: frames.Write{Op: OpCompareAndSwap, Key: key, Value: value, ByValue: expected != nil, Expected: expected}})
	return r.Swapped, err
}

// CompareAndSwapRevision puts a value if the key was last modified at revision,
// 0 for a missing key. If it was not, found is when.
func (s *Session) CompareAndSwapRevision(ctx context.Context, key []byte, revision int64, value []byte) (swapped bool, found int64, err error) {
	r, err := s.Write(ctx, Write{Write: frames.Write{Op: OpCompareAndSwap, Key: key, Value: value, ExpectedRevision: revision}})
	return r.Swapped, r.FoundRevision, err
}

// Increment adds delta to the number that the key holds in decimal and returns
// the sum. A missing key counts as 0.
func (s *Session) Increment(ctx context.Context, key []byte, delta int64) (sum int64, err error) {
	r, err := s.Write(ctx, Write{Write: frames.Write{Op: OpIncrement, Key: key, Delta: delta}})
	return r.Value, err
}

// Txn executes a transaction of the etcd API, once like the other writes. One
// that can only read is repeated freely.
func (s *Session) Txn(ctx context.Context, req *pb.TxnRequest) (*pb.TxnResponse, error) {
	ctx, cancel := s.writes.bounded(ctx)
	defer cancel()
	if readsOnly(req) {
		resp, _, err := s.client.Txn(ctx, req)
		return resp, err
	}
	body, err := proto.Marshal(req)
	if err != nil {
		return nil, &RefusedError{Write: true, Err: err}
	}
	r, err := s.Write(ctx, Write{Write: frames.Write{Op: OpTxn, Txn: body}})
	if err != nil {
		return nil, err
	}
	resp := &pb.TxnResponse{}
	if err := proto.Unmarshal(r.Txn, resp); err != nil {
		return nil, &AppliedError{Err: err}
	}
	return resp, nil
}

// Watch is that of the Client.
func (s *Session) Watch(ctx context.Context, req WatchRequest, update func(Update) error) error {
	return s.client.Watch(ctx, req, update)
}

// closeSession tells the cluster that the session is over, once, without
// insisting.
func (l *lane) closeSession(limit time.Duration) {
	if l.session.id == 0 || l.current == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	// If it fails the session expires.
	_, _ = kvpb.NewNativeClient(l.current.conn).CloseSession(ctx, &kvpb.CloseSessionRequest{ClusterId: l.session.cluster, SessionId: l.session.id})
}
