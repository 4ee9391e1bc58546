package peer

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"

	"go.etcd.io/raft/v3/raftpb"
	"go.uber.org/zap"
	"golang.org/x/time/rate"
	"google.golang.org/grpc"

	"raftkv/node"
	"raftkv/rpc/peer/peerpb"
)

// Transport connects one member with the others. All methods may be called at
// any time, also after Close.
type Transport struct {
	opts     Options
	logger   *zap.Logger
	ctx      context.Context // ends with Close
	cancel   context.CancelFunc
	refusals *refusals
	reports  *reports
	counters counters

	handler Handler       // valid once started is closed
	started chan struct{} // closed by Start
	// holdersSlots is full when as many questions are under way as may be.
	holdersSlots chan struct{}
	incoming     transferSlot
	pace         *rate.Limiter // of all snapshots that are sent

	// peers is replaced, never changed, under mu; Send reads it without.
	peers atomic.Pointer[map[uint64]*remote]

	mu struct {
		sync.Mutex
		closed   bool
		inbound  map[inboundKey]*inbound
		passages map[*passage]struct{}
		lanes    int             // that come in
		deserted []chan struct{} // closed when lanes is 0
	}
	// workers are all goroutines and calls; entered under mu.
	workers sync.WaitGroup
	// reporter is the goroutine that runs reports; it outlives the workers.
	reporter     sync.WaitGroup
	stopReporter chan struct{}
	closing      sync.Once
}

// remote is another member as we dial it.
type remote struct {
	id        uint64
	urls      []string
	ctx       context.Context
	cancel    context.CancelFunc
	endpoint  *endpoint
	questions *grpc.ClientConn // opened by the first
	urgent    *lane
	bulk      *lane
	streaming atomic.Bool                             // a snapshot is on its way to it
	abandon   atomic.Pointer[context.CancelCauseFunc] // ends that
	snapshots snapshotCounters
}

// New makes a transport. It dials peers as they are added and answers Confirm
// once registered; it delivers from Start on.
func New(opts Options) (*Transport, error) {
	opts.EnsureDefaults()
	if err := opts.Validate(); err != nil {
		return nil, err
	}
	t := &Transport{
		opts: opts, logger: opts.Logger, reports: newReports(), started: make(chan struct{}),
		refusals:     &refusals{logger: opts.Logger, rejected: opts.Hooks.Rejected, told: make(map[refusalKey]struct{})},
		holdersSlots: make(chan struct{}, opts.HoldersInFlightMax),
		stopReporter: make(chan struct{}),
	}
	t.ctx, t.cancel = context.WithCancel(context.Background())
	t.peers.Store(&map[uint64]*remote{})
	t.mu.inbound = make(map[inboundKey]*inbound)
	t.mu.passages = make(map[*passage]struct{})
	limit := rate.Limit(opts.SnapshotRateBytes)
	if opts.SnapshotRateBytes < 0 {
		limit = rate.Inf
	}
	t.pace = rate.NewLimiter(limit, opts.ChunkBytes)
	return t, nil
}

// SnapshotPace is the pace of the snapshots that are sent, for whoever sends
// snapshots in another way.
func (t *Transport) SnapshotPace() *rate.Limiter { return t.pace }

// Register makes a gRPC server, best made with AdjustServer, serve our half.
func (t *Transport) Register(s grpc.ServiceRegistrar) {
	peerpb.RegisterPeerServer(s, &service{t: t})
}

// Start begins to deliver to h. It is called once.
func (t *Transport) Start(h Handler) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.mu.closed {
		return
	}
	t.handler = h
	t.reporter.Go(func() { t.reports.run(h, t.stopReporter) })
	close(t.started)
}

// Close ends all streams and waits for all goroutines, whoever else has called
// it. What has been taken for sending is dropped; a snapshot under way is
// reported as failed.
func (t *Transport) Close() error {
	t.closing.Do(func() {
		t.mu.Lock()
		t.mu.closed = true
		t.peers.Store(&map[uint64]*remote{})
		t.mu.Unlock()
		t.cancel()
		t.workers.Wait()
		close(t.stopReporter)
		t.reporter.Wait()
	})
	return nil
}

// enter registers work that Close waits for; false: the transport is closed.
func (t *Transport) enter() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.mu.closed {
		return false
	}
	t.workers.Add(1)
	return true
}

// spawn runs f on a goroutine that Close waits for.
func (t *Transport) spawn(f func()) bool {
	if !t.enter() {
		return false
	}
	go func() {
		defer t.workers.Done()
		f()
	}()
	return true
}

// AddPeer begins to dial a member at its advertised peer URLs. For a member
// that is there already it is UpdatePeer.
func (t *Transport) AddPeer(id uint64, urls []string) error {
	if id == t.opts.MemberID {
		return fmt.Errorf("add peer %x: that is this member", id)
	}
	if r := t.remote(id); r != nil && slices.Equal(r.urls, urls) {
		return nil
	}
	endpoint, err := newEndpoint(&t.opts, id, urls)
	if err != nil {
		return fmt.Errorf("add peer %x: %w", id, err)
	}
	r, err := t.newRemote(id, slices.Clone(urls), endpoint)
	if err != nil {
		return fmt.Errorf("add peer %x: %w", id, err)
	}
	old, err := t.swapRemote(id, r)
	if err != nil {
		r.discard()
		return fmt.Errorf("add peer %x: %w", id, err)
	}
	if old != nil {
		old.cancel()
	}
	return nil
}

// UpdatePeer dials a member at other URLs from now on. The same URLs change
// nothing.
func (t *Transport) UpdatePeer(id uint64, urls []string) error {
	return t.AddPeer(id, urls)
}

// RemovePeer ends all streams from and to a member. Whether it may come back
// is for Membership to say, which should know before.
func (t *Transport) RemovePeer(id uint64) {
	t.mu.Lock()
	peers := maps.Clone(*t.peers.Load())
	r := peers[id]
	delete(peers, id)
	t.peers.Store(&peers)
	for key, in := range t.mu.inbound {
		if key.from == id {
			in.end()
		}
	}
	t.mu.Unlock()
	if r != nil {
		r.cancel()
	}
}

// Peers returns the members that are dialled, in no order.
func (t *Transport) Peers() []uint64 { return slices.Collect(maps.Keys(*t.peers.Load())) }

func (t *Transport) newRemote(id uint64, urls []string, e *endpoint) (*remote, error) {
	r := &remote{id: id, urls: urls, endpoint: e}
	var err error
	if r.questions, err = e.connect(); err != nil {
		return nil, fmt.Errorf("prepare connection: %w", err)
	}
	r.urgent = newLane(t, r, peerpb.Lane_LANE_URGENT, t.opts.UrgentBytesMax)
	r.bulk = newLane(t, r, peerpb.Lane_LANE_BULK, t.opts.BulkBytesMax)
	r.ctx, r.cancel = context.WithCancel(t.ctx)
	return r, nil
}

// run keeps the lanes to a member connected until its context ends.
func (r *remote) run() {
	var lanes sync.WaitGroup
	lanes.Go(func() { r.urgent.run(r.ctx) })
	lanes.Go(func() { r.bulk.run(r.ctx) })
	lanes.Wait()
	r.discard()
}

// discard gives up a remote whose lanes do not run.
func (r *remote) discard() {
	r.cancel()
	if err := r.questions.Close(); err != nil {
		r.urgent.t.logger.Warn("cannot close a peer connection", zap.Error(err))
	}
}

// swapRemote puts r in its place and runs its lanes. It returns the one that
// was there; or r itself, discarded, if that one has the same URLs.
func (t *Transport) swapRemote(id uint64, r *remote) (old *remote, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.mu.closed {
		return nil, ErrClosed
	}
	peers := maps.Clone(*t.peers.Load())
	if old = peers[id]; old != nil && slices.Equal(old.urls, r.urls) {
		r.discard()
		return nil, nil
	}
	peers[id] = r
	t.peers.Store(&peers)
	t.workers.Go(r.run)
	return old, nil
}

func (t *Transport) remote(id uint64) *remote { return (*t.peers.Load())[id] }

// Send takes over messages, in order for each receiver and lane.
func (t *Transport) Send(messages []*raftpb.Message) {
	touched := make([]*lane, 0, 8)
	for _, m := range messages {
		r := t.remote(m.GetTo())
		switch {
		case m.GetType() == raftpb.MessageType_MsgSnap:
			t.sendSnapshot(r, m)
			continue
		case r == nil:
			t.reports.unreachable(m.GetTo())
			continue
		}
		l := r.urgent
		if m.GetType() == raftpb.MessageType_MsgApp {
			l = r.bulk // also without entries: it must not overtake the ones before it
		}
		l.put(messageItem(m))
		if !slices.Contains(touched, l) {
			touched = append(touched, l)
		}
	}
	for _, l := range touched {
		l.flush()
	}
}

// Forward sends a packed batch of proposals to the leader, at most once.
func (t *Transport) Forward(to uint64, batch []byte) {
	if r := t.remote(to); r != nil {
		r.bulk.put(batchItem(batch))
		r.bulk.flush()
		return
	}
	t.reports.unreachable(to)
}

// SendLeases takes over what is said about leader leases.
func (t *Transport) SendLeases(messages []node.LeaseMessage) {
	for _, m := range messages {
		if r := t.remote(m.To); r != nil {
			r.urgent.put(leaseItem(m))
			r.urgent.flush()
		}
	}
}

// Connected reports whether both lanes to a member work.
func (t *Transport) Connected(id uint64) bool {
	r := t.remote(id)
	return r != nil && r.urgent.connected() && r.bulk.connected()
}
