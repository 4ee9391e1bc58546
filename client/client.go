package client

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

// Config says where a Client connects to.
type Config struct {
	// Endpoints are tried in this order: host:port, http://host:port or
	// https://host:port.
	Endpoints []string
	// Fallback endpoints are asked only while none of Endpoints can be reached.
	Fallback []string
	// DialTimeout bounds one attempt to connect, HTTP/2 handshake included.
	// 0 means 1 s.
	DialTimeout time.Duration
	// TLS secures endpoints with https, and those without a scheme. Nil: https
	// trusts what the machine trusts, no scheme means plain text.
	TLS *tls.Config
}

// EnsureDefaults fills in what was left out.
func (c *Config) EnsureDefaults() {
	if c.DialTimeout == 0 {
		c.DialTimeout = time.Second
	}
}

// Validate reports everything that is wrong with c.
func (c *Config) Validate() error {
	var faults []error
	if len(c.Endpoints) == 0 {
		faults = append(faults, errors.New("no endpoints given"))
	}
	for _, list := range [][]string{c.Endpoints, c.Fallback} {
		for _, s := range list {
			if _, err := ParseEndpoint(s); err != nil {
				faults = append(faults, err)
			}
		}
	}
	if c.DialTimeout < 0 {
		faults = append(faults, fmt.Errorf("dial timeout %v is negative", c.DialTimeout))
	}
	return errors.Join(faults...)
}

// Client talks to one cluster through several endpoints.
type Client struct {
	dialTimeout time.Duration
	tls         *tls.Config
	primary     []*endpoint
	fallback    []*endpoint
	// pause waits before the list of endpoints is tried again; it returns early
	// with the context's error.
	pause func(context.Context, time.Duration) error
}

// New returns a client. It connects to nothing yet: an endpoint is dialled when
// the first request goes to it.
func New(cfg Config) (*Client, error) {
	cfg.EnsureDefaults()
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("client configuration: %w", err)
	}
	c := &Client{dialTimeout: cfg.DialTimeout, tls: cfg.TLS, pause: pause}
	var err error
	if c.primary, err = c.connections(cfg.Endpoints); err == nil {
		c.fallback, err = c.connections(cfg.Fallback)
	}
	if err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return c, nil
}

func (c *Client) connections(addresses []string) ([]*endpoint, error) {
	var list []*endpoint
	for _, s := range addresses {
		e, err := newEndpoint(s, c.dialTimeout, c.tls)
		if err != nil {
			return list, err
		}
		list = append(list, e)
	}
	return list, nil
}

// Close closes all connections. Requests under way fail: writes among them with
// an unknown outcome if they had been sent.
func (c *Client) Close() error {
	var faults []error
	for _, list := range [][]*endpoint{c.primary, c.fallback} {
		for _, e := range list {
			if err := e.conn.Close(); err != nil {
				faults = append(faults, fmt.Errorf("closing the connection to %s: %w", e.address, err))
			}
		}
	}
	return errors.Join(faults...)
}

// Answer says who answered a request, and at which state.
type Answer struct {
	// Endpoint is the address that answered, host:port.
	Endpoint string
	// First is whether that was the first endpoint of the configuration.
	First bool

	ClusterID, MemberID, RaftTerm uint64
	// Revision of the store when the request was executed.
	Revision int64
}

// answer describes a response with an etcd header that came from e.
func (c *Client) answer(e *endpoint, h *pb.ResponseHeader) Answer {
	return Answer{
		Endpoint:  e.address,
		First:     e == c.primary[0],
		ClusterID: h.GetClusterId(),
		MemberID:  h.GetMemberId(),
		RaftTerm:  h.GetRaftTerm(),
		Revision:  h.GetRevision(),
	}
}

func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
