package client

import (
	"context"
	"crypto/tls"
	"fmt"
	"math"
	"net"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/stats"
)

// ParseEndpoint reads host:port, http://host:port or https://host:port and
// returns host:port.
func ParseEndpoint(s string) (string, error) {
	_, address, err := splitEndpoint(s)
	return address, err
}

// splitEndpoint also returns the scheme, "" if there is none.
func splitEndpoint(s string) (scheme, address string, err error) {
	address = s
	if strings.Contains(s, "://") {
		u, err := url.Parse(s)
		switch {
		case err != nil:
			return "", "", fmt.Errorf("endpoint %q: %w", s, err)
		case u.Scheme != "http" && u.Scheme != "https":
			return "", "", fmt.Errorf("endpoint %q: scheme %q is not supported, use host:port, http://host:port or https://host:port", s, u.Scheme)
		case u.User != nil || u.RawQuery != "" || u.Fragment != "" || strings.Trim(u.Path, "/") != "":
			return "", "", fmt.Errorf("endpoint %q: only a host and a port may be given", s)
		}
		scheme, address = u.Scheme, u.Host
	}
	host, port, err := net.SplitHostPort(address)
	if err != nil || host == "" || strings.ContainsAny(host, " /@") {
		return "", "", fmt.Errorf("endpoint %q: want host:port or http://host:port", s)
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		return "", "", fmt.Errorf("endpoint %q: port %q is not a number from 1 to 65535", s, port)
	}
	return scheme, address, nil
}

// credentialsFor chooses between TLS and plain text.
func credentialsFor(scheme string, config *tls.Config) credentials.TransportCredentials {
	switch {
	case scheme == "http", scheme == "" && config == nil:
		return insecure.NewCredentials()
	case config == nil:
		config = &tls.Config{MinVersion: tls.VersionTLS12}
	}
	return credentials.NewTLS(config)
}

// endpoint is one address and the connection to it.
type endpoint struct {
	address string
	conn    *grpc.ClientConn
}

// newEndpoint prepares a connection that gRPC makes when it is first used.
func newEndpoint(s string, dialTimeout time.Duration, config *tls.Config) (*endpoint, error) {
	scheme, address, err := splitEndpoint(s)
	if err != nil {
		return nil, err
	}
	// passthrough leaves name resolution to the dialer, which tries all
	// addresses of a name within one attempt and one time limit.
	conn, err := grpc.NewClient("passthrough:///"+address,
		grpc.WithTransportCredentials(credentialsFor(scheme, config)),
		grpc.WithContextDialer(func(ctx context.Context, address string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "tcp", address)
		}),
		// gRPC lets an attempt take the longer of MinConnectTimeout and the
		// backoff, so the backoff must start below the former.
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff: backoff.Config{
				BaseDelay:  dialTimeout / 10,
				Multiplier: 1.6,
				Jitter:     0.2,
				MaxDelay:   dialTimeout,
			},
			MinConnectTimeout: dialTimeout,
		}),
		// A response above gRPC's default of 4 MiB would otherwise fail after
		// the write had been applied.
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(math.MaxInt32)),
		grpc.WithStatsHandler(sendObserver{}),
	)
	if err != nil {
		return nil, fmt.Errorf("endpoint %q: %w", s, err)
	}
	return &endpoint{address: address, conn: conn}, nil
}

// sentKey is the context key of the flag that a sendObserver sets.
type sentKey struct{}

// withSendFlag returns a context whose gRPC calls set the flag once something
// of them may have reached the server.
func withSendFlag(ctx context.Context) (context.Context, *atomic.Bool) {
	sent := new(atomic.Bool)
	return context.WithValue(ctx, sentKey{}, sent), sent
}

// sendObserver is the stats handler that keeps the flags of withSendFlag.
type sendObserver struct{}

func (sendObserver) HandleRPC(ctx context.Context, event stats.RPCStats) {
	sent, ok := ctx.Value(sentKey{}).(*atomic.Bool)
	if !ok {
		return
	}
	switch event.(type) {
	case *stats.Begin:
		// Every call and every transparent retry begins here. gRPC retries
		// only what the server has proved not to have processed.
		sent.Store(false)
	case *stats.OutHeader:
		sent.Store(true)
	}
}

func (sendObserver) TagRPC(ctx context.Context, _ *stats.RPCTagInfo) context.Context   { return ctx }
func (sendObserver) TagConn(ctx context.Context, _ *stats.ConnTagInfo) context.Context { return ctx }
func (sendObserver) HandleConn(context.Context, stats.ConnStats)                       {}
