package listen

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"slices"

	"go.uber.org/zap"
	"google.golang.org/grpc/credentials"
)

// Entrance is one way into a port. A port has at most one in plain text, and
// several with TLS only if callers ask for them.
type Entrance struct {
	// Endpoint is what rejections are logged and counted as: "client" or
	// "peer". Default "client".
	Endpoint string
	// TLS are the server's settings; nil: plain text. NextProtos are ours to
	// set.
	TLS *tls.Config
	// Ask, if not "", is the ALPN protocol that a caller must offer, beside
	// those it speaks, to come in here; others come in by the entrance without
	// Ask. It lets clients and peers share a port though they are certified by
	// different authorities.
	Ask string
	// Other, if not "", is how the connections of a third protocol begin: as many
	// bytes as HTTP/2's preface.
	Other string
	// Check, if set, may refuse a connection whose handshake is done.
	Check func(ctx context.Context, c *tls.Conn) error
}

func checkEntrances(all []Entrance) error {
	plain, secured := 0, map[string]int{}
	faults := []error{nil}
	for _, e := range all {
		if e.Other != "" && len(e.Other) != len(preface) {
			faults = append(faults, fmt.Errorf("listen: Other %q must have %d bytes", e.Other, len(preface)))
		}
		if e.TLS == nil {
			plain++
			continue
		}
		secured[e.Ask]++
	}
	if plain > 1 {
		faults = append(faults, fmt.Errorf("listen: %d entrances in plain text, at most one can be told from others", plain))
	}
	for ask, n := range secured {
		if n > 1 {
			faults = append(faults, fmt.Errorf("listen: %d entrances with TLS and Ask %q, at most one can be told from others", n, ask))
		}
	}
	return errors.Join(faults...)
}

// door is an entrance at work.
type door struct {
	*Entrance
	tls               *tls.Config
	grpc, http, other *half
}

func (d *door) half(speaks protocol) *half {
	switch speaks {
	case protocolGRPC:
		return d.grpc
	case protocolOther:
		return d.other
	}
	return d.http
}

func newDoor(e *Entrance, addr net.Addr) *door {
	d := &door{Entrance: e, grpc: newHalf(addr), http: newHalf(addr), other: newHalf(addr)}
	if e.Endpoint == "" {
		e.Endpoint = "client"
	}
	if e.TLS != nil {
		d.tls = e.TLS.Clone()
		// Ours is the order that counts: curl, which offers both, must get the
		// protocol in which everything is served.
		d.tls.NextProtos = []string{"http/1.1", "h2"}
	}
	return d
}

func (s *Splitter) plain() *door {
	for _, d := range s.doors {
		if d.tls == nil {
			return d
		}
	}
	return nil
}

func (s *Splitter) secured() (doors []*door) {
	for _, d := range s.doors {
		if d.tls != nil {
			doors = append(doors, d)
		}
	}
	return doors
}

// choose returns the entrance that a caller asks for.
func (s *Splitter) choose(offered []string) *door {
	doors := s.secured()
	for _, d := range doors {
		if d.Ask != "" && slices.Contains(offered, d.Ask) {
			return d
		}
	}
	for _, d := range doors {
		if d.Ask == "" {
			return d
		}
	}
	return doors[0]
}

// handshake finishes TLS and returns the entrance it came in by. The connection
// is returned with an error, too: it knows whom the caller named.
func (s *Splitter) handshake(ctx context.Context, raw net.Conn) (*tls.Conn, *door, error) {
	chosen := s.choose(nil)
	c := tls.Server(raw, &tls.Config{
		MinVersion: tls.VersionTLS12, // that of the chosen entrance counts
		GetConfigForClient: func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
			chosen = s.choose(hello.SupportedProtos)
			return chosen.tls, nil
		},
	})
	if err := c.HandshakeContext(ctx); err != nil {
		return c, chosen, fmt.Errorf("TLS handshake: %w", err)
	}
	if chosen.Check != nil {
		if err := chosen.Check(ctx, c); err != nil {
			return c, chosen, fmt.Errorf("checking the certificate: %w", err)
		}
	}
	return c, chosen, nil
}

// reject closes a connection, counts it and says so in the words that tools for
// etcd wait for.
func (s *Splitter) reject(raw net.Conn, d *door, c *tls.Conn, why error) {
	s.opts.Metrics.reject(d.Endpoint)
	fields := []zap.Field{zap.String("remote-addr", remoteOf(raw))}
	if c != nil {
		fields = append(fields, certificateFields(c.ConnectionState())...)
	}
	fields = append(fields, zap.Error(why), zap.NamedError("close", raw.Close()))
	s.opts.Logger.Warn("rejected connection on "+d.Endpoint+" endpoint", fields...)
}

func remoteOf(c net.Conn) string {
	if a := c.RemoteAddr(); a != nil {
		return a.String()
	}
	return "unknown"
}

func certificateFields(state tls.ConnectionState) []zap.Field {
	fields := []zap.Field{zap.String("server-name", state.ServerName)}
	if len(state.PeerCertificates) == 0 {
		return fields
	}
	cert := state.PeerCertificates[0]
	var addresses []string
	for _, ip := range cert.IPAddresses {
		addresses = append(addresses, ip.String())
	}
	return append(fields, zap.String("common-name", cert.Subject.CommonName),
		zap.Strings("ip-addresses", addresses), zap.Strings("dns-names", cert.DNSNames))
}

// FinishedTLS returns credentials for the gRPC server of an entrance with TLS.
// The Splitter has finished the handshake; these only tell gRPC what came out.
func FinishedTLS() credentials.TransportCredentials { return finishedTLS{} }

type finishedTLS struct{}

func (finishedTLS) ServerHandshake(c net.Conn) (net.Conn, credentials.AuthInfo, error) {
	split, ok := c.(*replayed)
	if !ok {
		return nil, nil, fmt.Errorf("listen: %T did not come through a Splitter", c)
	}
	secure, ok := split.Conn.(*tls.Conn)
	if !ok {
		return nil, nil, errors.New("listen: the connection is in plain text")
	}
	return c, credentials.TLSInfo{
		State:          secure.ConnectionState(),
		CommonAuthInfo: credentials.CommonAuthInfo{SecurityLevel: credentials.PrivacyAndIntegrity},
	}, nil
}

func (finishedTLS) ClientHandshake(context.Context, string, net.Conn) (net.Conn, credentials.AuthInfo, error) {
	return nil, nil, errors.New("listen: these credentials are for servers")
}

func (finishedTLS) Info() credentials.ProtocolInfo {
	return credentials.ProtocolInfo{SecurityProtocol: "tls"}
}

func (f finishedTLS) Clone() credentials.TransportCredentials { return f }

// OverrideServerName is deprecated; servers have no use for it.
func (finishedTLS) OverrideServerName(string) error { return nil }
