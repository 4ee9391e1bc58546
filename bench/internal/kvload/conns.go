package kvload

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/credentials/insecure"
)

// reconnectDelayMax keeps a restarted server from being avoided for gRPC's
// default of up to two minutes, which would show as downtime it did not have.
const reconnectDelayMax = time.Second

// Conns is a set of connections, each to one member.
type Conns struct {
	list []*grpc.ClientConn
}

// Dial opens count connections spread evenly over endpoints and waits until
// all are ready.
func Dial(ctx context.Context, endpoints []string, count int) (*Conns, error) {
	c := &Conns{}
	for i := range count {
		conn, err := newConn(endpoints[i%len(endpoints)])
		if err != nil {
			return nil, errors.Join(err, c.Close())
		}
		c.list = append(c.list, conn)
		conn.Connect()
	}
	for _, conn := range c.list {
		if err := waitReady(ctx, conn); err != nil {
			return nil, errors.Join(err, c.Close())
		}
	}
	return c, nil
}

// Close closes all connections.
func (c *Conns) Close() error {
	var faults []error
	for _, conn := range c.list {
		if err := conn.Close(); err != nil {
			faults = append(faults, fmt.Errorf("closing the connection to %s: %w", conn.CanonicalTarget(), err))
		}
	}
	return errors.Join(faults...)
}

// of returns the connections that one of several clients uses in turn.
func (c *Conns) of(client, clients int) []*grpc.ClientConn { return inTurn(c.list, client, clients) }

// inTurn returns those of list that one of several clients uses in turn. With at
// least as many clients as connections that is a single one; a lone client on
// several connections goes round all of them.
func inTurn[C any](list []C, client, clients int) (mine []C) {
	for i := client % len(list); i < len(list); i += clients {
		mine = append(mine, list[i])
	}
	return mine
}

func newConn(endpoint string) (*grpc.ClientConn, error) {
	params := backoff.DefaultConfig
	params.BaseDelay, params.MaxDelay = reconnectDelayMax/20, reconnectDelayMax
	conn, err := grpc.NewClient("passthrough:///"+endpoint,
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithConnectParams(grpc.ConnectParams{Backoff: params, MinConnectTimeout: 5 * time.Second}))
	if err != nil {
		return nil, fmt.Errorf("connecting to %s: %w", endpoint, err)
	}
	return conn, nil
}

func waitReady(ctx context.Context, conn *grpc.ClientConn) error {
	for {
		state := conn.GetState()
		switch state {
		case connectivity.Ready:
			return nil
		case connectivity.Idle:
			conn.Connect()
		}
		if !conn.WaitForStateChange(ctx, state) {
			return fmt.Errorf("connecting to %s: still %v: %w", conn.Target(), state, ctx.Err())
		}
	}
}

// Leader asks all endpoints at once and returns the one whose member takes
// itself for the leader in the highest term. That all answer is not required.
func Leader(ctx context.Context, endpoints []string) (string, error) {
	type answer struct {
		endpoint string
		status   *etcdserverpb.StatusResponse
		err      error
	}
	answers := make(chan answer, len(endpoints))
	for _, endpoint := range endpoints {
		go func() {
			status, err := memberStatus(ctx, endpoint)
			answers <- answer{endpoint, status, err}
		}()
	}
	var leader string
	var term uint64
	var faults []error
	for range endpoints {
		a := <-answers
		switch {
		case a.err != nil:
			faults = append(faults, a.err)
		case a.status.GetLeader() != 0 && a.status.GetLeader() == a.status.GetHeader().GetMemberId() &&
			(leader == "" || a.status.GetRaftTerm() > term):
			leader, term = a.endpoint, a.status.GetRaftTerm()
		}
	}
	if leader == "" {
		faults = append(faults, errors.New("no endpoint is the leader's"))
		return "", errors.Join(faults...)
	}
	return leader, nil
}

// Serves returns nil if the member answers a linearizable read, which needs a
// leader and a majority.
func Serves(ctx context.Context, endpoint string) (err error) {
	conn, err := newConn(endpoint)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, conn.Close()) }()
	if _, err = etcdserverpb.NewKVClient(conn).Range(ctx, &etcdserverpb.RangeRequest{Key: absentKey(0)}); err != nil {
		return fmt.Errorf("reading from %s: %w", endpoint, err)
	}
	return nil
}

func memberStatus(ctx context.Context, endpoint string) (resp *etcdserverpb.StatusResponse, err error) {
	conn, err := newConn(endpoint)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, conn.Close()) }()
	resp, err = etcdserverpb.NewMaintenanceClient(conn).Status(ctx, &etcdserverpb.StatusRequest{})
	if err != nil {
		return nil, fmt.Errorf("asking %s for its status: %w", endpoint, err)
	}
	return resp, nil
}
