package peer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"sync/atomic"
	"syscall"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/resolver"
	"google.golang.org/grpc/resolver/manual"
)

// endpoint is how a member is dialled.
type endpoint struct {
	opts        *Options
	id          uint64
	addresses   []resolver.Address
	credentials credentials.TransportCredentials
}

func newEndpoint(opts *Options, id uint64, urls []string) (*endpoint, error) {
	e := &endpoint{opts: opts, id: id, credentials: insecure.NewCredentials()}
	scheme := ""
	for _, raw := range urls {
		u, err := url.Parse(raw)
		if err != nil {
			return nil, fmt.Errorf("peer URL %q: %w", raw, err)
		}
		switch {
		case u.Scheme != "http" && u.Scheme != "https", u.Hostname() == "", u.Port() == "":
			return nil, fmt.Errorf("peer URL %q is not of the form http://host:port", raw)
		case scheme != "" && u.Scheme != scheme:
			return nil, fmt.Errorf("peer URLs %v mix http and https", urls)
		case u.Scheme == "https" && opts.Credentials == nil:
			return nil, fmt.Errorf("peer URL %q needs TLS, which is not configured", raw)
		}
		scheme = u.Scheme
		e.addresses = append(e.addresses, resolver.Address{Addr: u.Host, ServerName: u.Hostname()})
	}
	if len(e.addresses) == 0 {
		return nil, errors.New("no peer URL given")
	}
	if scheme == "https" {
		e.credentials = opts.Credentials
	}
	return e, nil
}

// connect makes a connection, which gRPC opens when it is first used. Every
// time the other side closes it, resets is raised before a stream sees that.
func (e *endpoint) connect(resets *atomic.Uint64) (*grpc.ClientConn, error) {
	dial := e.opts.Dial
	if dial == nil {
		dial = dialTCP(e.opts.KeepaliveTimeout)
	}
	addresses := manual.NewBuilderWithScheme("member")
	addresses.InitialState(resolver.State{Addresses: e.addresses})
	return grpc.NewClient(fmt.Sprintf("member:///%x", e.id),
		grpc.WithResolvers(addresses),
		grpc.WithTransportCredentials(e.credentials),
		grpc.WithContextDialer(func(ctx context.Context, address string) (net.Conn, error) {
			conn, err := dial(ctx, address)
			if err != nil {
				return nil, err
			}
			return &watchedConn{Conn: conn, resets: resets}, nil
		}),
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: e.opts.BackoffBase, Multiplier: 2, Jitter: 0.3, MaxDelay: e.opts.BackoffMax},
			MinConnectTimeout: max(2*time.Second, e.opts.BackoffMax),
		}),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{
			Time: keepaliveInterval, Timeout: e.opts.KeepaliveTimeout, PermitWithoutStream: true,
		}),
		grpc.WithWriteBufferSize(128<<10),
		grpc.WithIdleTimeout(0),
		// Nothing may be sent twice, and nothing kept in order to.
		grpc.WithDisableRetry(),
		grpc.WithDisableServiceConfig(),
		grpc.WithDefaultCallOptions(grpc.MaxCallSendMsgSize(MaxFrameBytes), grpc.MaxCallRecvMsgSize(1<<20)),
	)
}

// watchedConn tells a connection that the other side closed from one that we
// gave up.
type watchedConn struct {
	net.Conn
	resets *atomic.Uint64
}

func (c *watchedConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.note(err)
	return n, err
}

func (c *watchedConn) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	c.note(err)
	return n, err
}

func (c *watchedConn) note(err error) {
	if errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) {
		c.resets.Add(1)
	}
}

func dialTCP(userTimeout time.Duration) func(context.Context, string) (net.Conn, error) {
	d := net.Dialer{Control: func(_, _ string, c syscall.RawConn) error { return setUserTimeout(c, userTimeout) }}
	return func(ctx context.Context, address string) (net.Conn, error) {
		return d.DialContext(ctx, "tcp", address)
	}
}
