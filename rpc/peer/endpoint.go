package peer

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"syscall"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/resolver"
	"google.golang.org/grpc/resolver/manual"

	"raftkv/rpc/socket"
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

func (e *endpoint) dialer() func(context.Context, string) (net.Conn, error) {
	if e.opts.Dial != nil {
		return e.opts.Dial
	}
	return dialTCP(e.opts.KeepaliveTimeout)
}

// connectTimeout is how long an address may take to accept a connection.
func (e *endpoint) connectTimeout() time.Duration { return max(2*time.Second, e.opts.BackoffMax) }

// dial opens a connection to the first address that takes one.
func (e *endpoint) dial(ctx context.Context) (net.Conn, error) {
	var faults []error
	for _, address := range e.addresses {
		conn, err := e.dialAddress(ctx, address)
		if err == nil {
			return conn, nil
		}
		faults = append(faults, err)
	}
	return nil, errors.Join(faults...)
}

func (e *endpoint) dialAddress(ctx context.Context, address resolver.Address) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, e.connectTimeout())
	defer cancel()
	raw, err := e.dialer()(ctx, address.Addr)
	if err != nil {
		return nil, fmt.Errorf("connect to %s: %w", address.Addr, err)
	}
	conn, _, err := e.credentials.ClientHandshake(ctx, address.ServerName, socket.Wrap(raw))
	if err != nil {
		return nil, errors.Join(fmt.Errorf("secure the connection to %s: %w", address.Addr, err), raw.Close())
	}
	return conn, nil
}

// connect makes a connection for calls, which gRPC opens when it is first used.
func (e *endpoint) connect() (*grpc.ClientConn, error) {
	addresses := manual.NewBuilderWithScheme("member")
	addresses.InitialState(resolver.State{Addresses: e.addresses})
	return grpc.NewClient(fmt.Sprintf("member:///%x", e.id),
		grpc.WithResolvers(addresses),
		grpc.WithTransportCredentials(e.credentials),
		grpc.WithContextDialer(e.dialer()),
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: e.opts.BackoffBase, Multiplier: 2, Jitter: 0.3, MaxDelay: e.opts.BackoffMax},
			MinConnectTimeout: e.connectTimeout(),
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

func dialTCP(userTimeout time.Duration) func(context.Context, string) (net.Conn, error) {
	d := net.Dialer{Control: func(_, _ string, c syscall.RawConn) error { return setUserTimeout(c, userTimeout) }}
	return func(ctx context.Context, address string) (net.Conn, error) {
		return d.DialContext(ctx, "tcp", address)
	}
}
