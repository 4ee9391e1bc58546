package peer

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
)

// Resolver looks up names and addresses, as *net.Resolver does.
type Resolver interface {
	LookupHost(ctx context.Context, host string) (addrs []string, err error)
	LookupAddr(ctx context.Context, addr string) (names []string, err error)
}

// AddressCheck refuses callers whose certificate names hosts of which none is
// where they call from, so that a certificate is of no use on another machine.
// One that names no host passes: it was meant to say who, not where.
func AddressCheck(r Resolver) func(context.Context, *tls.Conn) error {
	return func(ctx context.Context, c *tls.Conn) error {
		certs := c.ConnectionState().PeerCertificates
		if len(certs) == 0 {
			return nil // whether one is needed, the handshake has decided
		}
		host, _, err := net.SplitHostPort(c.RemoteAddr().String())
		if err != nil {
			return fmt.Errorf("address of the caller: %w", err)
		}
		return checkAddress(ctx, r, certs[0], host)
	}
}

func checkAddress(ctx context.Context, r Resolver, cert *x509.Certificate, host string) error {
	if len(cert.IPAddresses) == 0 && len(cert.DNSNames) == 0 {
		return nil
	}
	ip := net.ParseIP(host)
	if slices.ContainsFunc(cert.IPAddresses, ip.Equal) {
		return nil
	}
	var faults []error
	var wildcards []string
	for _, name := range cert.DNSNames {
		if suffix, ok := strings.CutPrefix(name, "*"); ok {
			wildcards = append(wildcards, suffix)
			continue
		}
		addresses, err := r.LookupHost(ctx, name)
		if slices.ContainsFunc(addresses, func(a string) bool { return ip.Equal(net.ParseIP(a)) }) {
			return nil
		}
		faults = append(faults, err)
	}
	if len(wildcards) > 0 {
		names, err := r.LookupAddr(ctx, host)
		if matchesWildcard(names, wildcards) {
			return nil
		}
		faults = append(faults, err)
	}
	return errors.Join(append([]error{fmt.Errorf("the certificate is for %v %v, not for the caller's address %s",
		cert.DNSNames, cert.IPAddresses, host)}, faults...)...)
}

// matchesWildcard reports whether a host name is covered by a wildcard, which
// stands for one label.
func matchesWildcard(names, suffixes []string) bool {
	return slices.ContainsFunc(names, func(name string) bool {
		_, rest, ok := strings.Cut(strings.TrimSuffix(name, "."), ".")
		return ok && slices.ContainsFunc(suffixes, func(s string) bool { return strings.EqualFold("."+rest, s) })
	})
}
