package peer

import (
	"context"
	"crypto/tls"
	"net"
	"sync"

	"go.uber.org/zap"
	"google.golang.org/grpc/credentials"
)

// ALPN is the protocol that members offer, beside HTTP/2, when they dial each
// other. Where clients and peers share a port it tells the server by which
// authority the caller wants to be judged; it grants nothing.
const ALPN = "raft-kv-peer"

// NewCredentials secures the connections a member dials. A handshake that fails
// is logged once for each member, until one succeeds: gRPC itself only tries
// again.
func NewCredentials(config *tls.Config, logger *zap.Logger) credentials.TransportCredentials {
	config = config.Clone()
	config.NextProtos = []string{ALPN, "h2"}
	return &loggedTLS{
		TransportCredentials: credentials.NewTLS(config),
		told:                 &toldFaults{logger: logger, members: make(map[string]string)},
	}
}

// loggedTLS are credentials that tell why handshakes fail.
type loggedTLS struct {
	credentials.TransportCredentials
	told *toldFaults
}

func (l *loggedTLS) ClientHandshake(ctx context.Context, authority string, raw net.Conn) (net.Conn, credentials.AuthInfo, error) {
	c, info, err := l.TransportCredentials.ClientHandshake(ctx, authority, raw)
	l.told.outcome(authority, err)
	return c, info, err
}

// Clone shares what was told: gRPC clones credentials as it likes.
func (l *loggedTLS) Clone() credentials.TransportCredentials {
	return &loggedTLS{TransportCredentials: l.TransportCredentials.Clone(), told: l.told}
}

// toldFaults remembers the last fault told of each member. Authorities come
// from peer URLs, so there are not many.
type toldFaults struct {
	logger  *zap.Logger
	mu      sync.Mutex
	members map[string]string
}

func (t *toldFaults) outcome(authority string, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if err == nil {
		delete(t.members, authority)
		return
	}
	if t.members[authority] == err.Error() {
		return
	}
	t.members[authority] = err.Error()
	t.logger.Warn("TLS handshake with a peer failed; trying again", zap.String("peer-address", authority), zap.Error(err))
}
