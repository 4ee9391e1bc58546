package server

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"path/filepath"

	"go.etcd.io/etcd/client/pkg/v3/transport"
	"go.uber.org/zap"
	"google.golang.org/grpc/credentials"

	"raftkv/rpc/peer"
)

// security is the TLS a member speaks, on etcd's transport package.
type security struct {
	clients, peers *tls.Config // of the servers; nil: plain text
	// dial secures connections to other members; nil: plain text.
	dial credentials.TransportCredentials
	// checkPeer may refuse a peer whose certificate is in order.
	checkPeer func(context.Context, *tls.Conn) error
}

// openSecurity reads certificates, or makes those that the configuration wants
// made, in the data directory, which must be ours by now.
func openSecurity(cfg *Config) (*security, error) {
	s := &security{}
	logger := cfg.Logger.Named("tls")
	cfg.warnOfPlainText(logger)
	if cfg.ClientTLS.Configured() {
		info, err := cfg.transportInfo(&cfg.ClientTLS, "client", append(cfg.ListenClientURLs, cfg.ListenClientHTTPURLs...), logger)
		if err == nil {
			s.clients, err = serverConfig(info)
		}
		if err != nil {
			return nil, fmt.Errorf("TLS for clients: %w", err)
		}
	}
	if !cfg.PeerTLS.Configured() {
		return s, nil
	}
	info, err := cfg.transportInfo(&cfg.PeerTLS, "peer", cfg.ListenPeerURLs, logger)
	if err == nil {
		s.peers, err = serverConfig(info)
	}
	if err != nil {
		return nil, fmt.Errorf("TLS between peers: %w", err)
	}
	dial, err := info.ClientConfig()
	if err != nil {
		return nil, fmt.Errorf("TLS between peers: %w", err)
	}
	s.dial = peer.NewCredentials(dial, logger)
	if !cfg.PeerTLS.SkipAddressCheck {
		s.checkPeer = peer.AddressCheck(net.DefaultResolver)
	}
	if !cfg.PeerTLS.certifies() {
		logger.Warn("connections between peers are encrypted, but whoever connects is not certified; give --peer-trusted-ca-file")
	}
	return s, nil
}

// transportInfo is the configuration of one kind of connection, its certificate
// made if need be.
func (c *Config) transportInfo(t *TLS, kind string, urls []string, logger *zap.Logger) (transport.TLSInfo, error) {
	if t.given() {
		if t.Auto {
			logger.Warn("ignoring automatic TLS since certificates are given", zap.String("for", kind))
		}
		return c.TLSCommon.info(t, logger)
	}
	var hosts []string
	for _, s := range urls {
		if a, err := parseURL(s); err == nil {
			hosts = append(hosts, a.host)
		}
	}
	dir := filepath.Join(c.DataDir, "member", "fixtures", kind)
	info, err := transport.SelfCert(logger, dir, hosts, c.SelfSignedYears)
	if err != nil {
		return info, fmt.Errorf("make a certificate in %s: %w", dir, err)
	}
	return info, c.TLSCommon.apply(&info)
}

func serverConfig(info transport.TLSInfo) (*tls.Config, error) {
	config, err := info.ServerConfig()
	if err != nil {
		return nil, err
	}
	info.ConfigureCRLVerification(config)
	return config, nil
}

// warnOfPlainText tells of certificates that some URLs make no use of.
func (c *Config) warnOfPlainText(logger *zap.Logger) {
	warn := func(t *TLS, lists ...[]string) {
		if !t.Configured() {
			return
		}
		for _, urls := range lists {
			for _, s := range urls {
				if a, err := parseURL(s); err == nil && !a.secure {
					logger.Warn("this URL is in plain text though TLS is configured; certificates are neither shown nor demanded there", zap.String("url", s))
				}
			}
		}
	}
	warn(&c.ClientTLS, c.ListenClientURLs, c.ListenClientHTTPURLs)
	warn(&c.PeerTLS, c.ListenPeerURLs)
}
