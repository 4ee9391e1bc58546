package peer

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"go.etcd.io/raft/v3/raftpb"
	"go.uber.org/goleak"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	"raftkv/node"
	"raftkv/rpc/h2"
	"raftkv/rpc/listen"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience is how long a test waits before it gives up; nothing waits that long
// when it works.
const patience = 30 * time.Second

func await[T any](t testing.TB, c <-chan T, what string) T {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(patience):
		t.Fatalf("no %s after %v", what, patience)
		panic("unreachable")
	}
}

type forwarded struct {
	from  uint64
	batch string
}

type leaseFrom struct {
	from uint64
	node.LeaseMessage
}

type snapshotReport struct {
	id uint64
	ok bool
}

// recorder is a Handler that hands everything to channels.
type recorder struct {
	messages    chan *raftpb.Message
	forwarded   chan forwarded
	leases      chan leaseFrom
	unreachable chan uint64 // capacity 1 and lossy: reports may be many
	snapshots   chan snapshotReport
	// gate, if not nil, holds up every MsgApp until it is closed; entered
	// tells that one is there.
	gate    chan struct{}
	entered chan struct{}
	holders func(ctx context.Context, index uint64) (int, int, error)
}

func newRecorder() *recorder {
	return &recorder{
		messages: make(chan *raftpb.Message, 100_000), forwarded: make(chan forwarded, 100_000),
		leases:      make(chan leaseFrom, 1000),
		unreachable: make(chan uint64, 1), snapshots: make(chan snapshotReport, 1000), entered: make(chan struct{}, 1),
	}
}

func (r *recorder) Step(m *raftpb.Message) {
	if r.gate != nil && m.GetType() == raftpb.MessageType_MsgApp {
		select {
		case r.entered <- struct{}{}:
		default:
		}
		<-r.gate
	}
	r.messages <- m
}

func (r *recorder) StepForwarded(from uint64, batch []byte) {
	r.forwarded <- forwarded{from, string(batch)}
}

func (r *recorder) Delivered()                                 {}
func (r *recorder) StepLease(from uint64, m node.LeaseMessage) { r.leases <- leaseFrom{from, m} }

func (r *recorder) ReportUnreachable(id uint64) {
	select {
	case r.unreachable <- id:
	default:
	}
}

func (r *recorder) ReportSnapshot(id uint64, ok bool) { r.snapshots <- snapshotReport{id, ok} }

func (r *recorder) Holders(ctx context.Context, index uint64) (int, int, error) {
	return r.holders(ctx, index)
}

// roster is a Membership whose answers a test sets.
type roster struct {
	mu    sync.Mutex
	check func(member, incarnation uint64) error
}

func (r *roster) Check(c Caller) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.check == nil {
		return nil
	}
	return r.check(c.ID, c.Incarnation)
}

func (r *roster) set(check func(member, incarnation uint64) error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.check = check
}

func (r *roster) Confirm(c Caller) (bool, error) {
	err := r.Check(c)
	if errors.Is(err, ErrOtherIncarnation) {
		return false, nil
	}
	return err == nil, err
}

// library is a Snapshots whose archive is a slice.
type library struct {
	archive   func() (io.ReadSeekCloser, int64, error)
	stage     func(ctx context.Context, s *raftpb.Snapshot, fetch fetch) error
	discarded chan struct{}
}

type fetch = func(ranges [][2]int64, remainingBytes int64) (io.Reader, error)

type closable struct{ io.ReadSeeker }

func (closable) Close() error { return nil }

func archiveOf(b []byte) func() (io.ReadSeekCloser, int64, error) {
	return func() (io.ReadSeekCloser, int64, error) { return closable{bytes.NewReader(b)}, int64(len(b)), nil }
}

func (l *library) Open(*raftpb.Snapshot) (io.ReadSeekCloser, int64, error) { return l.archive() }
func (l *library) Discard(*raftpb.Snapshot)                                { l.discarded <- struct{}{} }
func (l *library) Stage(ctx context.Context, s *raftpb.Snapshot, f fetch) error {
	return l.stage(ctx, s, f)
}

type down struct {
	id    uint64
	reset bool
}

// member is a transport with its server.
type member struct {
	*Transport
	*recorder
	roster   *roster
	library  *library
	server   *h2.Server
	port     *listen.Splitter
	address  string
	up       chan uint64
	down     chan down
	rejected chan *Refused
	logs     chan string // warnings and errors
	connects chan struct{}
	served   sync.WaitGroup
}

// newMember starts member id; change may be nil. Its gRPC server listens on
// address, or anywhere if that is empty.
func newMember(t testing.TB, id uint64, address string, change func(*Options)) *member {
	t.Helper()
	m := &member{
		recorder: newRecorder(), roster: &roster{}, library: &library{discarded: make(chan struct{}, 1000)},
		up: make(chan uint64, 1000), down: make(chan down, 1000), rejected: make(chan *Refused, 1000),
		logs: make(chan string, 1000), connects: make(chan struct{}, 100_000),
	}
	opts := Options{
		ClusterID: 0xc1, MemberID: id, Incarnation: id * 100, Membership: m.roster, Snapshots: m.library,
		Hooks: Hooks{
			PeerUp:   func(id uint64) { m.up <- id },
			PeerDown: func(id uint64, reset bool) { m.down <- down{id, reset} },
			Rejected: func(r *Refused) { m.rejected <- r },
		},
		Logger:      zap.New(&logCore{lines: m.logs}),
		BackoffBase: time.Millisecond, BackoffMax: 10 * time.Millisecond,
	}
	if change != nil {
		change(&opts)
	}
	var err error
	if m.Transport, err = New(opts); err != nil {
		t.Fatal(err)
	}
	if address == "" {
		address = "127.0.0.1:0"
	}
	listener, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	m.address = listener.Addr().String()
	m.port, err = listen.Split(listener, listen.Options{Entrances: []listen.Entrance{{Other: Preface}}})
	if err != nil {
		t.Fatal(err)
	}
	settings := h2.Config{}
	AdjustServer(&settings, false)
	if m.server, err = h2.New(settings); err != nil {
		t.Fatal(err)
	}
	m.Register(m.server)
	m.served.Go(func() {
		if err := m.server.Serve(m.port.GRPC()); err != nil && !errors.Is(err, grpc.ErrServerStopped) {
			t.Errorf("serve: %v", err)
		}
	})
	m.served.Go(func() {
		if err := m.Serve(&counted{m.port.Other(0), m.connects}); !errors.Is(err, net.ErrClosed) {
			t.Errorf("serve lanes: %v", err)
		}
	})
	t.Cleanup(func() { m.stop(t) })
	return m
}

// counted is a listener that tells of each connection.
type counted struct {
	net.Listener
	connects chan<- struct{}
}

func (c *counted) Accept() (net.Conn, error) {
	conn, err := c.Listener.Accept()
	if err == nil {
		c.connects <- struct{}{}
	}
	return conn, err
}

// start is newMember and Start.
func start(t testing.TB, id uint64, change func(*Options)) *member {
	m := newMember(t, id, "", change)
	m.Start(m.recorder)
	return m
}

// stop ends the member as a kill of its process would, as others see it.
func (m *member) stop(t testing.TB) {
	m.server.Stop()
	if err := errors.Join(m.Close(), m.port.Close()); err != nil {
		t.Error(err)
	}
	m.served.Wait()
}

// dial makes m dial other.
func (m *member) dial(t testing.TB, other *member) {
	t.Helper()
	if err := m.AddPeer(other.opts.MemberID, []string{"http://" + other.address}); err != nil {
		t.Fatal(err)
	}
}

// pair starts members 1 and 2, each of which dials the other.
func pair(t testing.TB, change func(*Options)) (a, b *member) {
	t.Helper()
	a, b = start(t, 1, change), start(t, 2, change)
	a.dial(t, b)
	b.dial(t, a)
	await(t, a.up, "connection")
	await(t, b.up, "connection")
	return a, b
}

func message(typ raftpb.MessageType, from, to, index uint64, data ...string) *raftpb.Message {
	m := &raftpb.Message{
		Type: typ.Enum(), From: proto.Uint64(from), To: proto.Uint64(to), Term: proto.Uint64(7), Index: proto.Uint64(index),
	}
	for i, d := range data {
		m.Entries = append(m.Entries, &raftpb.Entry{Term: proto.Uint64(7), Index: proto.Uint64(index + uint64(i) + 1), Data: []byte(d)})
	}
	return m
}

func send(m *member, messages ...*raftpb.Message) { m.Send(messages) }

// logCore is a zapcore.Core that hands warnings and errors to a channel.
type logCore struct{ lines chan string }

func (c *logCore) Enabled(l zapcore.Level) bool      { return l >= zapcore.WarnLevel }
func (c *logCore) With([]zapcore.Field) zapcore.Core { return c }
func (c *logCore) Sync() error                       { return nil }
func (c *logCore) Check(e zapcore.Entry, to *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	if c.Enabled(e.Level) {
		return to.AddCore(e, c)
	}
	return to
}

func (c *logCore) Write(e zapcore.Entry, fields []zapcore.Field) error {
	line := zapcore.NewMapObjectEncoder()
	for _, f := range fields {
		f.AddTo(line)
	}
	c.lines <- fmt.Sprintf("%s %v", e.Message, line.Fields["error"])
	return nil
}

// refusingDial tells of every attempt.
func refusingDial(dial func(context.Context, string) (net.Conn, error), attempts chan<- struct{}) func(context.Context, string) (net.Conn, error) {
	return func(ctx context.Context, address string) (net.Conn, error) {
		attempts <- struct{}{}
		return dial(ctx, address)
	}
}
