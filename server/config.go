package server

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"raftkv/node"
	"raftkv/server/identity"
)

// Member is one entry of the initial cluster.
type Member struct {
	Name     string
	PeerURLs []string
}

// Config sets up one member. URLs are http://host:port.
type Config struct {
	// Name is the member's label; it must be one of InitialCluster's names.
	Name    string
	DataDir string
	// Memory keeps log and state in memory. Such a member forgets everything
	// when it stops, its votes too, so it can never come back under its id.
	Memory bool

	ListenClientURLs    []string
	AdvertiseClientURLs []string
	ListenPeerURLs      []string
	// Peers dial a member at the URLs of its entry here, which may differ from
	// those it listens on.
	InitialCluster      []Member
	InitialClusterToken string

	HeartbeatInterval time.Duration
	ElectionTimeout   time.Duration

	MaxRequestBytes int
	MaxTxnOps       int
	// Pprof serves profiles under /debug/pprof/ on the client ports.
	Pprof bool

	Logger   *zap.Logger
	Registry *prometheus.Registry
	// OnEvent receives the events of the node's life with members resolved to
	// names. It is called in order and must not block for long.
	OnEvent func(Event)
}

// Event is a node's event with the leader's name.
type Event struct {
	node.Event
	LeaderName string
}

// EnsureDefaults fills what is not set.
func (c *Config) EnsureDefaults() {
	if c.Name == "" {
		c.Name = "default"
	}
	if c.DataDir == "" {
		c.DataDir = c.Name + ".raft-kv"
	}
	if len(c.ListenClientURLs) == 0 {
		c.ListenClientURLs = []string{"http://localhost:2379"}
	}
	if len(c.AdvertiseClientURLs) == 0 {
		c.AdvertiseClientURLs = c.ListenClientURLs
	}
	if len(c.ListenPeerURLs) == 0 {
		c.ListenPeerURLs = []string{"http://localhost:2380"}
	}
	if len(c.InitialCluster) == 0 {
		c.InitialCluster = []Member{{Name: c.Name, PeerURLs: c.ListenPeerURLs}}
	}
	if c.InitialClusterToken == "" {
		c.InitialClusterToken = "raft-kv-cluster"
	}
	if c.HeartbeatInterval == 0 {
		c.HeartbeatInterval = 100 * time.Millisecond
	}
	if c.ElectionTimeout == 0 {
		c.ElectionTimeout = time.Second
	}
	if c.MaxRequestBytes == 0 {
		c.MaxRequestBytes = 3 << 19
	}
	if c.MaxTxnOps == 0 {
		c.MaxTxnOps = 128
	}
	if c.Logger == nil {
		c.Logger = zap.NewNop()
	}
	if c.Registry == nil {
		c.Registry = prometheus.NewRegistry()
	}
	if c.OnEvent == nil {
		c.OnEvent = func(Event) {}
	}
}

// Validate reports every fault at once, in the words of the flags.
func (c *Config) Validate() error {
	var errs []error
	fault := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	for flag, urls := range map[string][]string{
		"--listen-client-urls": c.ListenClientURLs, "--advertise-client-urls": c.AdvertiseClientURLs,
		"--listen-peer-urls": c.ListenPeerURLs,
	} {
		for _, u := range urls {
			if err := checkURL(u); err != nil {
				fault("%s: %w", flag, err)
			}
		}
	}
	if c.ElectionTimeout < 5*c.HeartbeatInterval {
		fault("--election-timeout (%v) must be at least five times --heartbeat-interval (%v)", c.ElectionTimeout, c.HeartbeatInterval)
	}
	if c.HeartbeatInterval <= 0 {
		fault("--heartbeat-interval must be positive")
	}
	if c.ElectionTimeout > 50*time.Second {
		fault("--election-timeout (%v) must not exceed 50s", c.ElectionTimeout)
	}
	if c.MaxRequestBytes <= 0 || c.MaxRequestBytes > 10<<20 {
		fault("--max-request-bytes (%d) must be between 1 and %d", c.MaxRequestBytes, 10<<20)
	}
	if c.MaxTxnOps <= 0 {
		fault("--max-txn-ops (%d) must be positive", c.MaxTxnOps)
	}
	errs = append(errs, c.validateCluster()...)
	slices.SortFunc(errs, func(a, b error) int {
		if a.Error() < b.Error() {
			return -1
		}
		return 1
	})
	return errors.Join(errs...)
}

func (c *Config) validateCluster() (errs []error) {
	names, urls := map[string]bool{}, map[string]string{}
	for _, m := range c.InitialCluster {
		if names[m.Name] {
			errs = append(errs, fmt.Errorf("--initial-cluster names %q twice", m.Name))
		}
		names[m.Name] = true
		if len(m.PeerURLs) == 0 {
			errs = append(errs, fmt.Errorf("--initial-cluster gives no peer URL for %q", m.Name))
		}
		for _, u := range m.PeerURLs {
			if err := checkURL(u); err != nil {
				errs = append(errs, fmt.Errorf("--initial-cluster: %w", err))
			}
			if other, taken := urls[u]; taken && other != m.Name {
				errs = append(errs, fmt.Errorf("--initial-cluster gives %s to both %q and %q", u, other, m.Name))
			}
			urls[u] = m.Name
		}
	}
	if !names[c.Name] {
		errs = append(errs, fmt.Errorf("the cluster list %v does not contain this node, %q; add it or correct the name", c.memberNames(), c.Name))
	}
	return errs
}

func (c *Config) memberNames() []string {
	names := make([]string, len(c.InitialCluster))
	for i, m := range c.InitialCluster {
		names[i] = m.Name
	}
	return names
}

func checkURL(s string) error {
	u, err := url.Parse(s)
	if err != nil {
		return fmt.Errorf("%q is not a URL: %w", s, err)
	}
	if u.Scheme != "http" {
		return fmt.Errorf("%q: scheme %q is not supported yet, only http is", s, u.Scheme)
	}
	if _, port, err := net.SplitHostPort(u.Host); err != nil || port == "" {
		return fmt.Errorf("%q has no port; write http://host:port", s)
	}
	if u.Path != "" && u.Path != "/" {
		return fmt.Errorf("%q must not have a path", s)
	}
	return nil
}

// ids computes the ids of the cluster and of its initial members.
func (c *Config) ids() (cluster uint64, members map[string]uint64) {
	members = make(map[string]uint64, len(c.InitialCluster))
	var all []uint64
	for _, m := range c.InitialCluster {
		id := identity.MemberID(m.PeerURLs, c.InitialClusterToken)
		members[m.Name] = id
		all = append(all, id)
	}
	return identity.ClusterID(all), members
}

// electionTicks is the election timeout in heartbeat intervals.
func (c *Config) electionTicks() int { return int(c.ElectionTimeout / c.HeartbeatInterval) }

// requestTimeout is how long a request waits for the cluster, as in etcd: long
// enough to survive an election.
func (c *Config) requestTimeout() time.Duration { return 5*time.Second + 2*c.ElectionTimeout }
