package server

import (
	"context"
	"errors"
	"fmt"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
	"google.golang.org/grpc"

	"raftkv/node"
	"raftkv/rpc/concurrency"
	"raftkv/rpc/etcdv3"
	"raftkv/rpc/kvstream"
	"raftkv/rpc/listen"
	"raftkv/rpc/peer"
	"raftkv/rpc/peer/peerpb"
	"raftkv/rpc/request"
	"raftkv/rpc/rpcerr"
	"raftkv/rpc/web"
	"raftkv/server/corruption"
	"raftkv/server/sessions"
	"raftkv/server/watch"
	"raftkv/snap"
	"raftkv/statemachine/envelope"
)

// Server is one running member.
type Server struct {
	cfg                 Config
	clusterID, memberID uint64

	front     *front
	rooms     *rooms
	transport *peer.Transport
	fsyncs    prometheus.Histogram
	events    *events
	node      atomic.Pointer[node.Node]
	upkeep    upkeep
	checker   *corruption.Checker
	watches   *watch.Hub
	leasing   *leasing
	sessions  *sessions.Keeper
	reads     *leaseReads
	rewriting sync.Mutex // held while the state is rewritten
	snapshots *snapshots

	reconciling sync.Mutex // one at a time; see reconcile
	admission   admission
	met         atomic.Pointer[introduced]
	meeting     atomic.Bool // a stranger is asked who the members are
	versions    versions
	table       *rpcerr.Table
	links       links
	changing    chan struct{} // holds one: changes of the members wait for each other
	leaving     sync.Once

	ctx    context.Context // ends when the member stops
	cancel context.CancelCauseFunc
	ready  chan struct{}
	done   chan struct{} // closed when the member has failed or Stop began

	background sync.WaitGroup
	stopOnce   sync.Once
	stopErr    error
	failMu     sync.Mutex
	failure    error
}

// Start runs a member until Stop, or until it cannot go on (see Done). It
// returns once the ports serve; Ready tells when the member knows a leader.
func Start(ctx context.Context, cfg Config) (*Server, error) {
	cfg.EnsureDefaults()
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if err := cfg.discover(ctx); err != nil {
		return nil, err
	}
	s := &Server{cfg: cfg, fsyncs: newFsyncHistogram(), events: newEvents(), snapshots: newSnapshots(), ready: make(chan struct{}), done: make(chan struct{}), changing: make(chan struct{}, 1)}
	s.ctx, s.cancel = context.WithCancelCause(context.WithoutCancel(ctx))
	go s.events.run(cfg.OnEvent, s.done)
	if err := s.open(ctx); err != nil {
		s.fail(err)
		return nil, errors.Join(err, s.close())
	}
	s.background.Go(s.run)
	return s, nil
}

// open binds the ports, opens the rooms and starts to serve.
func (s *Server) open(ctx context.Context) (err error) {
	if s.front, err = bind(&s.cfg, s.fail); err != nil {
		return err
	}
	if s.admission, err = s.cfg.admit(ctx); err != nil {
		return err
	}
	s.clusterID, s.memberID = s.admission.clusterID, s.admission.memberID
	if s.table, err = errorTable(); err != nil {
		return err
	}
	if s.upkeep, err = s.newUpkeep(); err != nil {
		return err
	}
	s.checker = s.newChecker()
	if s.leasing, err = s.newLeasing(); err != nil {
		return err
	}
	if s.sessions, err = s.newSessions(); err != nil {
		return err
	}
	if s.watches, err = s.newWatches(); err != nil {
		return err
	}
	s.reads = newLeaseReads(s)
	if s.rooms, err = openRooms(&s.cfg, &s.admission, s.fail, s.observeFsync, s.upkeep.sweeper.Wake, s.watches, s.leasing.lessor.Changed, s.reads.wake); err != nil {
		return err
	}
	s.watches.Attach(s.rooms.machine)
	s.background.Go(func() { s.watches.Run(s.ctx) })
	secured, err := openSecurity(&s.cfg)
	if err != nil {
		return err
	}
	s.transport, err = peer.New(peer.Options{
		ClusterID: s.clusterID, MemberID: s.memberID, Incarnation: s.rooms.incarnation, Boot: s.rooms.boot,
		NewestVersion: uint32(s.cfg.newestVersion()), PeerURLs: s.peerURLs,
		Membership: membership{s}, Reconfiguration: reconfiguration{s}, Snapshots: s.rooms.snaps, Leases: s.leasing, Hashes: hashes{s},
		Hooks:             peer.Hooks{PeerUp: s.peerUp, PeerDown: s.peerDown, Rejected: s.rejected, Snapshot: func(p peer.SnapshotProgress) { s.snapshots.progressed(s, p) }},
		SnapshotRateBytes: s.cfg.SnapshotRateBytes, Damaged: func(err error) bool { return errors.Is(err, snap.ErrCorrupt) },
		Logger: s.cfg.Logger.Named("peer"), Credentials: secured.dial,
	})
	if err != nil {
		return err
	}
	if s.rooms.complete || len(s.admission.through) == 0 { // else nobody would talk to it yet
		if err := s.reconcile(); err != nil {
			return err
		}
	}
	offered, err := s.services()
	if err != nil {
		return err
	}
	offered.tls = secured
	return s.front.serve(&s.cfg, offered)
}

// SyncHoldsProcessor says whether a processor waits for the disk with each sync
// of the log; once one does, it stays so. Valid once Ready, also after Stop.
func (s *Server) SyncHoldsProcessor() bool { return s.rooms.log.SyncHoldsProcessor() }

// services builds what the ports offer.
func (s *Server) services() (services, error) {
	b := backend{s}
	gate, err := request.New(b, request.AllowAll{}, s.table, request.Config{
		RequestBytesMax: s.cfg.MaxRequestBytes, TxnOpsMax: s.cfg.MaxTxnOps, Timeout: s.cfg.requestTimeout(),
		Space: s.space,
	})
	if err != nil {
		return services{}, err
	}
	etcd := etcdv3.New(gate, b)
	native, recipes := kvstream.New(gate, b), concurrency.New(etcd)
	handler, err := web.NewHandler(web.Config{
		Backend: b, Services: etcd, Concurrency: recipes, Registry: s.cfg.Registry,
		RequestBytesMax: int64(s.cfg.MaxRequestBytes), Timeout: s.cfg.requestTimeout(), Pprof: s.cfg.Pprof,
		Logger: s.cfg.Logger.Named("web"),
	})
	if err != nil {
		return services{}, err
	}
	offered := services{
		clients: func(r grpc.ServiceRegistrar) { etcd.Register(r); recipes.Register(r); kvstream.Register(r, native) },
		peers:   s.transport.Register,
		lanes:   s.transport.Serve,
		web:     handler,
		stats:   listen.NewRPCStats(),
		calls:   listen.NewClientRequests(peerpb.Peer_ServiceDesc.ServiceName),
		metrics: listen.NewMetrics(),
		frames:  native.Metrics(),
		guard:   request.NewStreamGuard(b.Leader),
	}
	s.background.Go(func() { offered.guard.Run(s.ctx, s.cfg.ElectionTimeout) })
	if s.cfg.ExtensiveMetrics {
		offered.stats.ObserveDurations()
	}
	return offered, s.registerMetrics(offered)
}

// run brings the member up and watches it until it stops.
func (s *Server) run() {
	if err := s.bringUp(); err != nil {
		if s.ctx.Err() == nil {
			s.fail(err)
		}
		return
	}
	n := s.node.Load()
	s.startUpkeep()
	s.background.Go(func() { s.checker.Run(s.ctx) })
	s.leasing.start()
	s.background.Go(func() { s.sessions.Run(s.ctx) })
	s.background.Go(func() { s.reads.run(n) })
	s.background.Go(s.publish)
	s.background.Go(s.watchLeadership)
	if s.admission.joined {
		s.background.Go(s.stayIntroduced)
	}
	if s.cfg.Join != "" && s.admission.joined {
		s.background.Go(s.seekPromotion)
	}
	if err := s.awaitService(n); err == nil {
		s.front.ready()
		// Whoever follows the events hears of the leader first.
		s.events.after(func() { close(s.ready) })
	}
	select {
	case <-n.Done():
		s.fail(n.Err())
	case <-s.ctx.Done():
	}
}

// awaitService returns once there is a leader, and a state to serve from.
func (s *Server) awaitService(n *node.Node) error {
	if err := n.WaitFor(s.ctx, func(status node.Status) bool { return status.Leader != 0 }); err != nil {
		return err
	}
	for !s.rooms.machine.Initialized() {
		if err := pause(s.ctx, changePause); err != nil {
			return err
		}
	}
	return nil
}

// bringUp makes the directory complete and starts the node.
func (s *Server) bringUp() error {
	if s.removed() {
		return s.removedError()
	}
	fresh := !s.rooms.complete
	if fresh {
		if err := s.join(s.ctx); err != nil {
			return err
		}
		if err := s.reconcile(); err != nil {
			return err
		}
		if err := s.confirm(s.ctx); err != nil {
			return err
		}
		if err := s.rooms.markComplete(); err != nil {
			return fmt.Errorf("record that this member is confirmed: %w", err)
		}
	}
	if !fresh {
		if err := s.checkInitially(); err != nil {
			return err
		}
	}
	if err := s.rooms.openLog(); err != nil {
		return err
	}
	n, err := node.Start(s.nodeConfig(), node.Rooms{
		Log: s.rooms.log, State: watchApply(configurations{s.rooms.machine, s.membersChanged}, &s.cfg),
		Snapshots: installs{s.rooms.snaps, s.membersChanged}, Transport: s.transport,
	})
	if err != nil {
		return err
	}
	s.node.Store(n)
	s.transport.Start(peerHandler{n, s})
	return nil
}

// nodeConfig is what the node is told of this member, once its rooms are open.
func (s *Server) nodeConfig() node.Config {
	applied, _ := s.rooms.machine.Applied()
	plan := planMemory(s.cfg.MemoryBudgetBytes)
	return node.Config{
		ID: s.memberID, Boot: s.rooms.boot, Applied: applied,
		TickInterval: s.cfg.HeartbeatInterval, ElectionTicks: s.cfg.electionTicks(), InitialTickAdvance: !s.cfg.FullFirstElection, NoPreVote: s.cfg.NoPreVote,
		PromisedFor: s.rooms.promised(), Now: newClock(),
		Pack: s.pack, Check: checkForwarded, CommandBytesMax: s.cfg.MaxRequestBytes,
		FlushBytes: plan.logFlushBytes, FlushEntries: int(min(s.cfg.SnapshotCount, math.MaxInt32)),
		BacklogBytesMax: plan.backlogBytes,
		QueueBytesMax:   plan.queueBytes, InboxBytesMax: plan.queueBytes, WriteBytesMax: plan.queueBytes,
		Logger: s.cfg.Logger.Named("raft"), OnEvent: s.tell,
	}
}

func (s *Server) pack(batch uint64, commands [][]byte) []byte {
	return envelope.Pack(envelope.Envelope{
		Proposer: s.memberID, Boot: s.rooms.boot, Batch: batch, ClusterVersion: s.packedVersion(),
	}, commands)
}

// status is the node's, or only this member's id before there is a node.
func (s *Server) status() node.Status {
	if n := s.node.Load(); n != nil {
		return n.Status()
	}
	return node.Status{ID: s.memberID}
}

// sizeBytes is what the state takes on disk; 0 once it has failed, which is
// reported elsewhere.
func (s *Server) sizeBytes() int64 {
	size, err := s.rooms.machine.Size()
	if err != nil {
		return 0
	}
	return size
}

// Ready is closed once the member serves and has known a leader.
func (s *Server) Ready() <-chan struct{} { return s.ready }

// Done is closed when the member stops, by itself or by Stop.
func (s *Server) Done() <-chan struct{} { return s.done }

// Status returns the member's view of itself.
func (s *Server) Status() node.Status { return s.status() }

// fail ends the member because of err; the first reason counts.
func (s *Server) fail(err error) {
	s.failMu.Lock()
	defer s.failMu.Unlock()
	if s.ctx.Err() != nil {
		return
	}
	s.failure = err
	s.cancel(err)
	close(s.done)
}

// handOverTime is how long a graceful stop waits for another leader.
const handOverTime = 1500 * time.Millisecond

// Stop hands leadership over, lets requests in flight finish, and ends the
// member. It returns why the member had failed before, or what went wrong
// while it was stopped.
func (s *Server) Stop() error {
	s.stopOnce.Do(func() {
		s.handOver()
		s.fail(nil)
		err := s.close()
		if s.stopErr = s.failed(); s.stopErr == nil {
			s.stopErr = err
		} else if err != nil {
			// What fails after the failure is mostly the same once more.
			s.cfg.Logger.Warn("stopping after a failure", zap.Error(err))
		}
	})
	return s.stopErr
}

func (s *Server) handOver() {
	n := s.node.Load()
	if n == nil || s.ctx.Err() != nil || len(voters(s.rooms.machine.Members())) < 2 {
		return
	}
	ctx, cancel := context.WithTimeout(s.ctx, handOverTime)
	defer cancel()
	if err := n.HandOver(ctx); err != nil {
		s.cfg.Logger.Warn("stopping without handing leadership over", zap.Error(err))
	}
}

// giveUpTime is how long a member that has failed waits for its rooms to end.
const giveUpTime = 5 * time.Second

// close takes everything down. A room that has failed may never end: Pebble
// retries a flush that the disk refuses for ever, and who waits for it waits as
// long. So a member that has failed leaves such a room behind after a while;
// the process is to exit.
func (s *Server) close() error {
	closed := make(chan error, 1)
	go func() { closed <- s.takeDown() }()
	if s.failed() == nil {
		return <-closed
	}
	giveUp := time.NewTimer(giveUpTime)
	defer giveUp.Stop()
	select {
	case err := <-closed:
		return err
	case <-giveUp.C:
		return errors.New("parts of this member did not end after the failure and were left behind")
	}
}

// takeDown ends whatever is up, from the clients to the ground floor.
func (s *Server) takeDown() error {
	var errs []error
	if s.front != nil {
		errs = append(errs, s.front.stop(s.closeTransport, s.deserted()))
	}
	s.closeTransport()
	s.background.Wait()
	if n := s.node.Load(); n != nil {
		n.Stop()
	}
	if s.rooms != nil {
		errs = append(errs, s.rooms.close())
	}
	s.events.wait()
	return errors.Join(errs...)
}

func (s *Server) failed() error {
	s.failMu.Lock()
	defer s.failMu.Unlock()
	return s.failure
}

// deserted returns a channel that is closed when no other member sends anything.
func (s *Server) deserted() <-chan struct{} {
	if s.transport != nil {
		return s.transport.Deserted()
	}
	none := make(chan struct{})
	close(none)
	return none
}

// closeTransport ends the streams to and from the other members.
func (s *Server) closeTransport() {
	if s.transport != nil {
		if err := s.transport.Close(); err != nil {
			s.cfg.Logger.Warn("closing the peer transport", zap.Error(err))
		}
	}
}
