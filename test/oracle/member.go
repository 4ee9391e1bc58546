package oracle

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"raftkv/server"
	"raftkv/test/e2e/harness"
)

// Member answers operations. Closing it waits for all it started.
type Member interface {
	Do(ctx context.Context, o Operation) Answer
	Close() error
}

// Elections of one member need no patience.
const (
	heartbeat       = 20 * time.Millisecond
	electionTimeout = 100 * time.Millisecond
	startTimeout    = 30 * time.Second
)

// connected is a member behind a gRPC connection.
type connected struct {
	conn     *grpc.ClientConn
	watching watching
	stop     func() error
}

// connect dials address; stop ends the member.
func connect(address string, stop func() error) (Member, error) {
	conn, err := grpc.NewClient("passthrough:///"+address,
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(math.MaxInt32)))
	if err != nil {
		return nil, errors.Join(fmt.Errorf("dial %s: %w", address, err), stop())
	}
	return &connected{conn: conn, watching: watching{conn: conn, streams: map[int]*watchStream{}}, stop: stop}, nil
}

func (m *connected) Do(ctx context.Context, o Operation) Answer {
	if _, _, ok := o.Method.watches(); ok {
		return m.watching.do(ctx, o)
	}
	return o.send(ctx, m.conn)
}

func (m *connected) Close() error {
	m.watching.close()
	return errors.Join(m.conn.Close(), m.stop())
}

// portAttempts is how often StartRaftKV tries again when somebody has taken a
// port that was free a moment ago.
const portAttempts = 5

// StartRaftKV starts a raft-kv in memory with its default limits, on free
// ports: one for clients and one for peers, because the limit of a message is
// higher on a port that peers use too.
func StartRaftKV(ctx context.Context) (Member, error) {
	var err error
	for range portAttempts {
		var m Member
		if m, err = startRaftKV(ctx); err == nil {
			return m, nil
		}
		if !strings.Contains(err.Error(), "is busy") {
			break
		}
	}
	return nil, fmt.Errorf("start raft-kv: %w", err)
}

func startRaftKV(ctx context.Context) (Member, error) {
	clients, peers, err := freeAddresses()
	if err != nil {
		return nil, err
	}
	s, err := server.Start(ctx, server.Config{
		Memory:            true,
		ListenClientURLs:  []string{"http://" + clients},
		ListenPeerURLs:    []string{"http://" + peers},
		HeartbeatInterval: heartbeat, ElectionTimeout: electionTimeout,
	})
	if err != nil {
		return nil, err
	}
	if err := await(ctx, s.Ready(), s.Done()); err != nil {
		return nil, errors.Join(err, s.Stop())
	}
	return connect(clients, s.Stop)
}

// freeAddresses returns two addresses that nobody listens on now.
func freeAddresses() (a, b string, err error) {
	first, err := harness.FindPorts(2)
	if err != nil {
		return "", "", err
	}
	return fmt.Sprintf("127.0.0.1:%d", first), fmt.Sprintf("127.0.0.1:%d", first+1), nil
}

func await(ctx context.Context, ready, stopped <-chan struct{}) error {
	ctx, cancel := context.WithTimeoutCause(ctx, startTimeout, fmt.Errorf("not ready after %v", startTimeout))
	defer cancel()
	select {
	case <-ready:
		return nil
	case <-stopped:
		return errors.New("stopped before it was ready")
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
