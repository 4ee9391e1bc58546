package server

import (
	"context"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"raftkv/server/identity"
)

// resolver looks names up; a net.Resolver is one.
type resolver interface {
	LookupSRV(ctx context.Context, service, proto, name string) (string, []*net.SRV, error)
	LookupHost(ctx context.Context, host string) ([]string, error)
}

// discover replaces the initial cluster by the members that the SRV records of a
// domain name, as etcd does: those of _etcd-server-ssl._tcp for https and those of
// _etcd-server._tcp for http, with a suffix if there is one. A directory that knows
// its cluster needs none of it.
//
// Records have no names, so every member knows its own alone: the others are told
// them when they publish theirs.
func (c *Config) discover(ctx context.Context) error {
	if c.DiscoverySRV == "" {
		return nil
	}
	if c.resolver == nil {
		c.resolver = net.DefaultResolver
	}
	if known, err := c.knowsItsCluster(); known || err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, resolveTime)
	defer cancel()
	d := discovery{c: c, resolver: c.resolver}
	var faults []error
	for _, service := range []struct{ scheme, name string }{{"https", "etcd-server-ssl"}, {"http", "etcd-server"}} {
		if c.DiscoverySRVName != "" {
			service.name += "-" + c.DiscoverySRVName
		}
		faults = append(faults, d.look(ctx, service.scheme, service.name))
	}
	switch {
	case len(d.members) == 0:
		return fmt.Errorf("--discovery-srv %s: no member of the cluster is found: %w", c.DiscoverySRV, errors.Join(faults...))
	case !d.own:
		return fmt.Errorf("--discovery-srv %s: none of the records is this node, whose peer URLs are %v; the records name %v",
			c.DiscoverySRV, c.ownPeerURLs(), d.urls())
	}
	c.InitialCluster = d.members
	return errors.Join(c.validateCluster()...)
}

func (c *Config) knowsItsCluster() (bool, error) {
	if c.Memory {
		return false, nil
	}
	root, err := filepath.Abs(c.DataDir)
	if err != nil {
		return false, err
	}
	kept, found, err := identity.Peek(root)
	return found && kept.Complete, err
}

// discovery collects the members of the records.
type discovery struct {
	c        *Config
	resolver resolver
	members  []Member
	own      bool // this node is among them
}

func (d *discovery) look(ctx context.Context, scheme, service string) error {
	_, records, err := d.resolver.LookupSRV(ctx, service, "tcp", d.c.DiscoverySRV)
	if err != nil {
		return err
	}
	for _, record := range records {
		host := net.JoinHostPort(strings.TrimSuffix(record.Target, "."), strconv.Itoa(int(record.Port)))
		own, err := d.isOwn(ctx, scheme, host)
		if err != nil {
			return err
		}
		m := Member{Name: host, PeerURLs: []string{scheme + "://" + host}}
		if own && !d.own {
			d.own, m.Name = true, d.c.Name
		}
		d.members = append(d.members, m)
	}
	return nil
}

// isOwn tells whether host:port is where this node is reached.
func (d *discovery) isOwn(ctx context.Context, scheme, host string) (bool, error) {
	for _, u := range d.c.ownPeerURLs() {
		own, ok := strings.CutPrefix(u, scheme+"://")
		if !ok {
			continue
		}
		if same, err := d.same(ctx, own, host); same || err != nil {
			return same, err
		}
	}
	return false, nil
}

// same tells whether two host:port have an address in common.
func (d *discovery) same(ctx context.Context, a, b string) (bool, error) {
	hostA, portA, errA := net.SplitHostPort(a)
	hostB, portB, errB := net.SplitHostPort(b)
	if err := errors.Join(errA, errB); err != nil || portA != portB {
		return false, err
	}
	if strings.EqualFold(hostA, hostB) {
		return true, nil
	}
	addressesA, errA := d.resolver.LookupHost(ctx, hostA)
	addressesB, errB := d.resolver.LookupHost(ctx, hostB)
	if errA != nil {
		return false, fmt.Errorf("this node's own peer address %s: %w", a, errA)
	}
	// One that cannot be found, say since its machine is not there yet, is another.
	return errB == nil && slices.ContainsFunc(addressesA, func(x string) bool { return slices.Contains(addressesB, x) }), nil
}

func (d *discovery) urls() (all []string) {
	for _, m := range d.members {
		all = append(all, m.PeerURLs...)
	}
	return all
}
