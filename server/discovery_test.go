package server

import (
	"context"
	"errors"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// fakeDNS has records by the name that is asked for.
type fakeDNS struct {
	srv   map[string][]*net.SRV
	hosts map[string][]string
}

var errNoSuchHost = errors.New("no such host")

func (f fakeDNS) LookupSRV(_ context.Context, service, proto, name string) (string, []*net.SRV, error) {
	full := "_" + service + "._" + proto + "." + name
	if records, ok := f.srv[full]; ok {
		return full, records, nil
	}
	return "", nil, errNoSuchHost
}

func (f fakeDNS) LookupHost(_ context.Context, host string) ([]string, error) {
	if net.ParseIP(host) != nil {
		return []string{host}, nil
	}
	if all, ok := f.hosts[host]; ok {
		return all, nil
	}
	return nil, errNoSuchHost
}

func TestDiscover(t *testing.T) {
	dns := fakeDNS{
		srv: map[string][]*net.SRV{
			"_etcd-server._tcp.example.com":      {{Target: "a.example.com.", Port: 2380}, {Target: "b.example.com.", Port: 2380}, {Target: "c.example.com.", Port: 2380}},
			"_etcd-server-ssl-x._tcp.secure.com": {{Target: "a.example.com.", Port: 1}},
			"_etcd-server._tcp.same.com":         {{Target: "a.example.com.", Port: 1}, {Target: "a.example.com.", Port: 1}},
		},
		hosts: map[string][]string{"a.example.com": {"10.0.0.1"}, "b.example.com": {"10.0.0.2", "10.1.0.2"}},
	}
	const a, b, cURL = "http://a.example.com:2380", "http://b.example.com:2380", "http://c.example.com:2380"
	for what, tc := range map[string]struct {
		domain, suffix, own string
		want                []Member
		says                string
	}{
		"by its name":            {"example.com", "", b, []Member{{"a.example.com:2380", []string{a}}, {"me", []string{b}}, {"c.example.com:2380", []string{cURL}}}, ""},
		"by its address":         {"example.com", "", "http://10.1.0.2:2380", []Member{{"a.example.com:2380", []string{a}}, {"me", []string{b}}, {"c.example.com:2380", []string{cURL}}}, ""},
		"with a suffix":          {"secure.com", "x", "https://a.example.com:1", []Member{{"me", []string{"https://a.example.com:1"}}}, ""},
		"without its suffix":     {"secure.com", "", "https://a.example.com:1", nil, "no member of the cluster is found"},
		"another scheme":         {"secure.com", "x", "http://a.example.com:1", nil, "none of the records is this node"},
		"another port":           {"example.com", "", "http://b.example.com:9", nil, "none of the records is this node"},
		"not in it":              {"example.com", "", "http://10.9.9.9:2380", nil, "none of the records is this node"},
		"no such domain":         {"nowhere.com", "", b, nil, "no such host"},
		"its own name is no one": {"example.com", "", "http://nobody.example.com:2380", nil, "own peer address"},
		"twice":                  {"same.com", "", "http://a.example.com:1", nil, "to both"},
	} {
		c := Config{Name: "me", DataDir: filepath.Join(t.TempDir(), "data"), DiscoverySRV: tc.domain, DiscoverySRVName: tc.suffix,
			PeerTLS: TLS{Auto: true}, InitialCluster: []Member{{Name: "me", PeerURLs: []string{tc.own}}}, resolver: dns}
		err := c.discover(t.Context())
		switch {
		case tc.says != "":
			if err == nil || !strings.Contains(err.Error(), tc.says) {
				t.Errorf("%s: %v does not say %q", what, err, tc.says)
			}
		case err != nil:
			t.Errorf("%s: %v", what, err)
		case !slices.EqualFunc(c.InitialCluster, tc.want, func(x, y Member) bool { return x.Name == y.Name && slices.Equal(x.PeerURLs, y.PeerURLs) }):
			t.Errorf("%s: %+v, want %+v", what, c.InitialCluster, tc.want)
		}
	}
}

// TestDiscoveredCluster: three members that know each other by records alone make
// one cluster, with one state, and come back without the records.
func TestDiscoveredCluster(t *testing.T) {
	c := newCluster(t, 3, false)
	var records []*net.SRV
	for _, cfg := range c.configs {
		address, err := net.ResolveTCPAddr("tcp", strings.TrimPrefix(cfg.ListenPeerURLs[0], "http://"))
		if err != nil {
			t.Fatal(err)
		}
		records = append(records, &net.SRV{Target: "localhost.", Port: uint16(address.Port)})
	}
	dns := fakeDNS{srv: map[string][]*net.SRV{"_etcd-server._tcp.example.com": records}, hosts: map[string][]string{"localhost": {"127.0.0.1"}}}
	for i := range c.configs {
		cfg := &c.configs[i]
		own := slices.IndexFunc(cfg.InitialCluster, func(m Member) bool { return m.Name == cfg.Name })
		cfg.InitialCluster = []Member{cfg.InitialCluster[own]}
		cfg.DiscoverySRV, cfg.resolver = "example.com", dns
	}
	c.startAll()
	keys := c.client(0)
	if _, err := keys.Put(t.Context(), "k", "v"); err != nil {
		t.Fatal(err)
	}
	named := func() bool {
		for _, s := range c.servers {
			if members := s.rooms.machine.Members(); len(members) != 3 || started(members) != 3 {
				return false
			}
		}
		return true
	}
	c.until("all have told their names", named)
	c.until("equal states", func() bool {
		var hashes []uint64
		for _, s := range c.servers {
			_, hash := s.rooms.machine.RollingHash()
			hashes = append(hashes, hash)
		}
		return len(slices.Compact(hashes)) == 1
	})
	c.stop()
	for i := range c.configs {
		c.configs[i].resolver = fakeDNS{}
	}
	c.startAll()
	got, err := c.client(1).Get(t.Context(), "k")
	if err != nil || len(got.Kvs) != 1 {
		t.Errorf("after a restart without records: %v, %v", got, err)
	}
}
