package clienttest

import (
	"context"
	"fmt"
	"net"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"

	"raftkv/rpc/kvstream/kvpb"
)

const (
	// ClusterID is the id of every cluster that does not ask for another.
	ClusterID = 0xc1
	// FirstMemberID is the id of member 1; the others follow.
	FirstMemberID = 0xa1
	// Term is the raft term of every cluster.
	Term = 2
)

// Options say what to start.
type Options struct {
	// Members is the number of members; 0 means 1.
	Members int
	// WithoutNative leaves the native service out.
	WithoutNative bool
	// ClusterID is used if it is not 0.
	ClusterID uint64
	// Credentials secure the members. Default: plain text.
	Credentials credentials.TransportCredentials
	// Index is the raft index that the members start at; each write adds one.
	Index uint64
}

// Cluster is a set of fake members. Member 1 leads until the test says otherwise.
type Cluster struct {
	id      uint64
	members []*Member
	store   *store
	// leasePromiseMS is what lease reads were switched to.
	leasePromiseMS atomic.Uint64

	mu struct {
		sync.Mutex
		index uint64
		calls []string
	}
}

// Start starts a cluster; the test's cleanup stops it.
func Start(t testing.TB, o Options) *Cluster {
	t.Helper()
	c := &Cluster{id: o.ClusterID, store: newStore()}
	if c.id == 0 {
		c.id = ClusterID
	}
	c.mu.index = o.Index
	for i := range max(1, o.Members) {
		m, err := c.startMember(i, o)
		if err != nil {
			t.Fatalf("starting fake member %d: %v", i+1, err)
		}
		t.Cleanup(m.Stop)
		c.members = append(c.members, m)
	}
	c.members[0].SetRole(kvpb.StatusResponse_LEADER)
	return c
}

// Member returns member n, counted from 1.
func (c *Cluster) Member(n int) *Member { return c.members[n-1] }

// Endpoints returns the addresses of all members in order.
func (c *Cluster) Endpoints() []string {
	list := make([]string, len(c.members))
	for i, m := range c.members {
		list[i] = m.address
	}
	return list
}

// Calls returns the calls that reached any member so far and forgets them, in
// order: the member's name and the method, as in "1 Put".
func (c *Cluster) Calls() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	calls := c.mu.calls
	c.mu.calls = nil
	return calls
}

func (c *Cluster) recordCall(member, method string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.mu.calls = append(c.mu.calls, member+" "+method)
}

// advance counts one log entry.
func (c *Cluster) advance() uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.mu.index++
	return c.mu.index
}

func (c *Cluster) index() uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.mu.index
}

// Member is one fake member.
type Member struct {
	cluster *Cluster
	id      uint64
	address string
	server  *grpc.Server
	served  chan struct{} // closed when Serve has returned
	stopped atomic.Bool

	mu struct {
		sync.Mutex
		name       string
		role       kvpb.StatusResponse_Role
		clientURLs []string
		missing    uint64
		intercept  grpc.UnaryServerInterceptor
		conns      []net.Conn
	}
}

func (c *Cluster) startMember(i int, o Options) (*Member, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("listening: %w", err)
	}
	m := &Member{cluster: c, id: FirstMemberID + uint64(i), address: l.Addr().String(), served: make(chan struct{})}
	m.mu.name = strconv.Itoa(i + 1)
	m.mu.clientURLs = []string{"http://" + m.address}
	if o.Credentials == nil {
		o.Credentials = insecure.NewCredentials()
	} else {
		m.mu.clientURLs = []string{"https://" + m.address}
	}
	m.server = grpc.NewServer(grpc.Creds(o.Credentials), grpc.UnaryInterceptor(m.serve), grpc.WaitForHandlers(true))
	if !o.WithoutNative {
		kvpb.RegisterNativeServer(m.server, &native{m: m})
	}
	pb.RegisterKVServer(m.server, &kv{m: m})
	pb.RegisterClusterServer(m.server, &clusterService{m: m})
	pb.RegisterMaintenanceServer(m.server, &maintenance{m: m})
	go func() {
		defer close(m.served)
		// Serve ends with an error only because Stop closed the listener.
		_ = m.server.Serve(&trackingListener{Listener: l, m: m})
	}()
	return m, nil
}

// Address is where the member listens, host:port.
func (m *Member) Address() string { return m.address }

// Stop closes the port and every connection, and waits for the handlers, whose
// contexts end. A member cannot be started again.
func (m *Member) Stop() {
	m.stopped.Store(true)
	m.server.Stop()
	<-m.served
}

// CutConnections breaks all connections without an answer to the requests on
// them; the port stays open.
func (m *Member) CutConnections() {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, c := range m.mu.conns {
		_ = c.Close() // the server may have closed it before
	}
	m.mu.conns = nil
}

// Intercept lets f handle every request from now on; f calls the handler that
// it is given to have the request applied. nil ends that.
func (m *Member) Intercept(f grpc.UnaryServerInterceptor) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.mu.intercept = f
}

// SetRole changes what the member says it is.
func (m *Member) SetRole(r kvpb.StatusResponse_Role) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.mu.role = r
}

// SetName changes the member's name.
func (m *Member) SetName(name string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.mu.name = name
}

// SetClientURLs changes the client URLs in the list of members.
func (m *Member) SetClientURLs(urls ...string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.mu.clientURLs = urls
}

// Arm makes an alarm of the member active.
func (m *Member) Arm(alarm pb.AlarmType) {
	m.cluster.store.arm(&pb.AlarmMember{MemberID: m.id, Alarm: alarm})
}

// Lag makes the member report a log that lacks so many entries.
func (m *Member) Lag(entries uint64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.mu.missing = entries
}

// describe returns the member as in the list of members.
func (m *Member) describe() *kvpb.Member {
	m.mu.Lock()
	defer m.mu.Unlock()
	return &kvpb.Member{
		Id:         m.id,
		Name:       m.mu.name,
		PeerUrls:   []string{"http://peer-" + m.mu.name},
		ClientUrls: m.mu.clientURLs,
		Learner:    m.mu.role == kvpb.StatusResponse_LEARNER,
	}
}

func (m *Member) role() (r kvpb.StatusResponse_Role, missing uint64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.mu.role, m.mu.missing
}

// leaderID is the id of the member that leads, or 0.
func (c *Cluster) leaderID() uint64 {
	for _, m := range c.members {
		if r, _ := m.role(); r == kvpb.StatusResponse_LEADER {
			return m.id
		}
	}
	return 0
}

// serve records a request and passes it to the test's interceptor, if any.
func (m *Member) serve(ctx context.Context, req any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
	m.cluster.recordCall(m.describe().GetName(), method(info))
	m.mu.Lock()
	intercept := m.mu.intercept
	m.mu.Unlock()
	if intercept == nil {
		return handler(ctx, req)
	}
	return intercept(ctx, req, info, handler)
}

// trackingListener remembers the connections for CutConnections.
type trackingListener struct {
	net.Listener
	m *Member
}

func (l *trackingListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	l.m.mu.Lock()
	defer l.m.mu.Unlock()
	l.m.mu.conns = append(l.m.mu.conns, c)
	return c, nil
}
