package main

import (
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"

	"raftkv/server"
)

// firstPort is that of node 1 where nothing else is said; the others follow.
const firstPort = 8001

// joinForm is --id N --join host:port: one command that adds a node.
func (o *memberOptions) joinForm(cfg *server.Config) error {
	switch {
	case len(o.cluster) > 0:
		return errors.New("--join asks a live node for the cluster; leave --cluster out")
	case o.id < 1:
		return fmt.Errorf("--join needs --id, a number from 1 that no other node has; it is %d", o.id)
	}
	scheme, err := shortScheme(cfg)
	if err != nil {
		return err
	}
	through, err := hostPort("--join", o.join)
	if err != nil {
		return err
	}
	address := o.address
	if address == "" {
		port := firstPort - 1 + o.id
		if host, _, _ := net.SplitHostPort(through); !isLoopback(host) || port > 65535 {
			return fmt.Errorf("--join %s: give --address host:port, where the other nodes reach this one", o.join)
		}
		address = fmt.Sprintf("localhost:%d", port)
	}
	if address, err = hostPort("--address", address); err != nil {
		return err
	}
	own := []string{scheme + address}
	cfg.Name, cfg.Join = fmt.Sprint(o.id), scheme+through
	cfg.InitialCluster = []server.Member{{Name: cfg.Name, PeerURLs: own}}
	cfg.ListenClientURLs, cfg.AdvertiseClientURLs, cfg.ListenPeerURLs = own, own, own
	if cfg.DataDir == "" {
		cfg.DataDir = "raft-kv-" + cfg.Name
	}
	return nil
}

// hostPort reads host:port, or a URL of it.
func hostPort(flag, s string) (string, error) {
	for _, scheme := range []string{"http://", "https://"} {
		s = strings.TrimPrefix(s, scheme)
	}
	host, port, err := net.SplitHostPort(s)
	if err != nil || host == "" {
		return "", fmt.Errorf("%s: %q is not host:port", flag, s)
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		return "", fmt.Errorf("%s: %q: port %q is not a number from 1 to 65535", flag, s, port)
	}
	return s, nil
}

func isLoopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}
