package server

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strconv"
)

// address is what a URL says about where to listen or dial.
type address struct {
	network string // tcp or unix
	host    string // host:port, or the path of a socket
	secure  bool
}

func parseURL(s string) (address, error) {
	u, err := url.Parse(s)
	if err != nil {
		return address{}, fmt.Errorf("%q is not a URL: %w", s, err)
	}
	switch u.Scheme {
	case "http", "https":
		_, port, err := net.SplitHostPort(u.Host)
		if err != nil || port == "" {
			return address{}, fmt.Errorf("%q has no port; write %s://host:port", s, u.Scheme)
		}
		if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
			return address{}, fmt.Errorf("%q: port %q is not a number from 1 to 65535", s, port)
		}
		if u.Path != "" && u.Path != "/" {
			return address{}, fmt.Errorf("%q must not have a path", s)
		}
		return address{network: "tcp", host: u.Host, secure: u.Scheme == "https"}, nil
	case "unix", "unixs":
		if u.Host+u.Path == "" {
			return address{}, fmt.Errorf("%q has no path; write %s://path/of/the/socket", s, u.Scheme)
		}
		return address{network: "unix", host: u.Host + u.Path, secure: u.Scheme == "unixs"}, nil
	}
	return address{}, fmt.Errorf("%q: scheme %q is not supported; use http, https, unix or unixs", s, u.Scheme)
}

func (c *Config) validateURLs() (errs []error) {
	for _, list := range []struct {
		flag  string
		urls  []string
		check func(address) error
	}{
		{"--listen-client-urls", c.ListenClientURLs, c.checkClientURL},
		{"--listen-client-http-urls", c.ListenClientHTTPURLs, c.checkClientURL},
		{"--listen-metrics-urls", c.ListenMetricsURLs, c.checkClientURL},
		{"--advertise-client-urls", c.AdvertiseClientURLs, nil},
		{"--listen-peer-urls", c.ListenPeerURLs, c.checkPeerURL},
	} {
		for _, s := range list.urls {
			a, err := parseURL(s)
			if err == nil && list.check != nil {
				err = list.check(a)
			}
			if err != nil {
				errs = append(errs, fmt.Errorf("%s: %w", list.flag, err))
			}
		}
	}
	if err := c.checkSharing(); err != nil {
		errs = append(errs, err)
	}
	return errs
}

func (c *Config) checkClientURL(a address) error {
	if a.secure && !c.ClientTLS.Configured() {
		return fmt.Errorf("%q: TLS is not supported without a certificate; give --cert-file and --key-file, or --auto-tls (else use http)", "https://"+a.host)
	}
	return nil
}

func (c *Config) checkPeerURL(a address) error {
	switch {
	case a.network != "tcp":
		return errors.New("peers are reached over http or https only")
	case a.secure && !c.PeerTLS.Configured():
		return fmt.Errorf("%q: TLS between peers is not supported without a certificate; give --peer-cert-file and --peer-key-file, or --peer-auto-tls (else use http)", "https://"+a.host)
	}
	return nil
}

// checkSharing refuses what cannot be told apart on one port.
func (c *Config) checkSharing() error {
	at := func(urls []string, secureOnly bool) (hosts []string) {
		for _, s := range urls {
			if a, err := parseURL(s); err == nil && (a.secure || !secureOnly) {
				hosts = append(hosts, a.host)
			}
		}
		return hosts
	}
	shared := func(a, b []string) string {
		for _, host := range a {
			if slices.Contains(b, host) {
				return host
			}
		}
		return ""
	}
	clients := slices.Concat(c.ListenClientURLs, c.ListenClientHTTPURLs, c.ListenMetricsURLs)
	if host := shared(at(c.ListenClientURLs, false), at(c.ListenClientHTTPURLs, false)); host != "" {
		return fmt.Errorf("--listen-client-urls and --listen-client-http-urls must not share %s", host)
	}
	// A port of their own is guarded as etcd guards it. Where clients come in,
	// too, whoever is let in as a peer must be one.
	if host := shared(at(c.ListenPeerURLs, true), at(clients, false)); host != "" && !c.PeerTLS.certifies() {
		return fmt.Errorf("peers share %s with clients, so they must be certified: give --peer-trusted-ca-file (--peer-auto-tls certifies nobody)", host)
	}
	return nil
}
