package server

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"raftkv/server/identity"
	"raftkv/statemachine"
)

// Member is one entry of the initial cluster.
type Member struct {
	Name     string
	PeerURLs []string
}

// Config sets up one member. URLs are http://host:port or https://host:port;
// those for clients may also be unix://path or unixs://path.
type Config struct {
	// Name is the member's label; it must be one of InitialCluster's names.
	Name    string
	DataDir string
	// WALDir is where the log goes, if not into DataDir.
	WALDir string
	// Memory keeps log and state in memory. Such a member forgets everything
	// when it stops, its votes too, so it can never come back under its id.
	Memory bool

	ListenClientURLs    []string
	AdvertiseClientURLs []string
	ListenPeerURLs      []string
	// ListenClientHTTPURLs take HTTP away from ListenClientURLs, which then
	// serve gRPC alone. ListenMetricsURLs serve metrics and health alone.
	ListenClientHTTPURLs []string
	ListenMetricsURLs    []string
	// Peers dial a member at the URLs of its entry here, which may differ from
	// those it listens on.
	InitialCluster      []Member
	InitialClusterToken string
	// DiscoverySRV is a domain whose SRV records name the members of a new cluster,
	// DiscoverySRVName a suffix of the names of the records; InitialCluster is then
	// this member alone, at its advertised URLs.
	DiscoverySRV, DiscoverySRVName string
	// Existing joins a cluster to which an operator has added this member:
	// InitialCluster must list its members, this one among them.
	Existing bool
	// Join, host:port or a client URL of a live member, has this member added to
	// that one's cluster; InitialCluster is then this member alone.
	Join string

	// LaxReconfigCheck lets operators change the members where that may cost the
	// majority; etcd's --strict-reconfig-check=false.
	LaxReconfigCheck bool
	// MaxLearners bounds the learners; 0: one.
	MaxLearners int

	HeartbeatInterval time.Duration
	ElectionTimeout   time.Duration
	// FullFirstElection waits a whole election timeout for a leader after the
	// start, instead of one tick.
	FullFirstElection bool
	// NoPreVote lets a member campaign without asking first whether it could win;
	// elections then always wait for ElectionTimeout.
	NoPreVote bool

	MaxRequestBytes int
	// MaxResponseBytes bounds what one read may hold in memory; 0: 2 GiB, more
	// than which gRPC does not send.
	MaxResponseBytes int64
	MaxTxnOps        int
	// SessionTTL is how long a session of the native API lives that is not used;
	// 0: the default of 10 minutes.
	SessionTTL time.Duration
	// MaxConcurrentStreams bounds the requests in flight of one connection; 0:
	// no bound.
	MaxConcurrentStreams uint32
	// Keepalive rules for connections of clients, as in listen.GRPCConfig.
	KeepaliveMinTime, KeepaliveInterval, KeepaliveTimeout time.Duration

	// SnapshotCount log entries, if not 0, cause a flush of the state and a
	// release of the log behind it, which otherwise depend on bytes alone; of
	// the released entries at most SnapshotCatchUpEntries, if not 0, are kept for
	// followers that lag. An entry holds as many writes as waited together.
	SnapshotCount, SnapshotCatchUpEntries uint64
	// MemoryBudgetBytes is the memory that the member aims to stay within,
	// however much data it holds; 0: DefaultMemoryBudgetBytes. The process has
	// to tell the garbage collector, see HeapLimitBytes.
	MemoryBudgetBytes int64
	// WatchProgressNotifyInterval is how long a watch that wants to hear of
	// progress waits without an event before it does; 0: the default.
	WatchProgressNotifyInterval time.Duration
	// SnapshotRateBytes is what all snapshots that this member sends, to members
	// that fell behind and to clients that save one, may take of the network in a
	// second; 0: the default, negative: no bound.
	SnapshotRateBytes int64
	// NoIOUring has the log synced by a system call that holds a processor, also
	// where the kernel offers io_uring (package wal/ring).
	NoIOUring bool

	// QuotaBackendBytes bounds the live data; 0: the default, negative: none.
	QuotaBackendBytes int64
	// AutoCompactionPeriod keeps that much history, AutoCompactionRevisions
	// that many revisions; at most one is set, none: no compaction by itself.
	AutoCompactionPeriod    time.Duration
	AutoCompactionRevisions int64
	// A compaction removes CompactionBatchLimit revisions at a time and pauses
	// for CompactionSleepInterval between; 0: defaults.
	CompactionBatchLimit    int
	CompactionSleepInterval time.Duration

	// InitialCorruptCheck compares this member's data with that of the others
	// before it takes part, and refuses to start if they differ.
	InitialCorruptCheck bool
	// While this member leads, it compares all members' data every
	// CorruptCheckInterval, and every CompactHashCheckInterval the hashes that they
	// have computed of compactions; 0: never.
	CorruptCheckInterval, CompactHashCheckInterval time.Duration

	// TLS of the https and unixs URLs.
	ClientTLS, PeerTLS TLS
	TLSCommon

	// A warning is logged when a unary request or the application of committed
	// entries takes longer; 0: never.
	WarnUnaryDuration, WarnApplyDuration time.Duration
	// ExtensiveMetrics adds how long requests take.
	ExtensiveMetrics bool
	// Pprof serves profiles under /debug/pprof/ on the client ports.
	Pprof bool

	Logger   *zap.Logger
	Registry *prometheus.Registry
	// newest is the newest cluster version that this program knows, if a test says
	// that it is another one than it is.
	newest statemachine.Version
	// resolver is that of the machine unless a test says otherwise.
	resolver resolver

	// OnEvent receives the events of the node's life with members resolved to
	// names. It is called in order and must not block for long.
	OnEvent func(Event)
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
	if c.MaxLearners == 0 {
		c.MaxLearners = 1
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
	if c.SessionTTL == 0 {
		c.SessionTTL = 10 * time.Minute
	}
	if c.MaxTxnOps == 0 {
		c.MaxTxnOps = 128
	}
	if c.MemoryBudgetBytes == 0 {
		c.MemoryBudgetBytes = DefaultMemoryBudgetBytes
	}
	c.TLSCommon.ensureDefaults()
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
	errs = append(errs, c.validateURLs()...)
	errs = append(errs, c.validateTLS()...)
	errs = append(errs, c.validateCompaction()...)
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
	if c.MaxResponseBytes < 0 || c.MaxResponseBytes > math.MaxInt32 {
		fault("--max-response-bytes (%d) must be between 1 and %d", c.MaxResponseBytes, math.MaxInt32)
	}
	if c.SessionTTL < 0 {
		fault("--session-ttl (%v) must be positive", c.SessionTTL)
	}
	if c.MaxTxnOps <= 0 {
		fault("--max-txn-ops (%d) must be positive", c.MaxTxnOps)
	}
	if c.MemoryBudgetBytes < MemoryBudgetBytesMin {
		fault("--memory-budget-bytes (%d) must be at least %d", c.MemoryBudgetBytes, MemoryBudgetBytesMin)
	}
	if c.WatchProgressNotifyInterval < 0 {
		fault("--watch-progress-notify-interval (%v) must not be negative", c.WatchProgressNotifyInterval)
	}
	if c.MaxLearners < 1 {
		fault("--max-learners (%d) must be at least 1", c.MaxLearners)
	}
	if c.Join != "" {
		if _, _, err := c.dialing(c.Join, &TLS{}); err != nil {
			fault("--join: %w", err)
		}
	}
	errs = append(errs, c.validateCluster()...)
	errs = append(errs, c.validateWALDir())
	errs = slices.DeleteFunc(errs, func(err error) bool { return err == nil })
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
			if parsed, err := parseURL(u); err != nil {
				errs = append(errs, fmt.Errorf("--initial-cluster: %w", err))
			} else if err := c.checkPeerURL(parsed); err != nil {
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

func (c *Config) validateCompaction() (errs []error) {
	fault := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if c.AutoCompactionPeriod < 0 || c.AutoCompactionRevisions < 0 {
		fault("--auto-compaction-retention must not be negative")
	}
	if c.AutoCompactionPeriod > 0 && c.AutoCompactionRevisions > 0 {
		fault("--auto-compaction-mode is either periodic or revision")
	}
	if c.CompactionBatchLimit < 0 {
		fault("--compaction-batch-limit (%d) must not be negative", c.CompactionBatchLimit)
	}
	if c.CompactionSleepInterval < 0 {
		fault("--compaction-sleep-interval (%v) must not be negative", c.CompactionSleepInterval)
	}
	return errs
}
