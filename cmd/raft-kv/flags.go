package main

import (
	"fmt"
	"math"
	"time"

	"github.com/spf13/pflag"

	"raftkv/server"
)

// memberOptions are the flags of one member: the short form (--id, --cluster)
// or etcd's long form.
type memberOptions struct {
	flags   *pflag.FlagSet
	notices []notice

	configFile string
	version    bool

	id      int
	cluster list
	storage string
	join    string
	address string

	name, dataDir, walDir                              string
	listenClient, listenClientHTTP, listenMetrics      list
	advertiseClient, listenPeer, initialAdvertisePeer  list
	initialCluster, initialClusterState, initialToken  string
	discoverySRV, discoverySRVName                     string
	heartbeatMS, electionMS                            int
	maxResponseBytes                                   int64
	initialTickAdvance, preVote, strictReconfig        bool
	maxLearners                                        int
	maxRequestBytes, maxTxnOps                         int
	maxStreams                                         uint32
	keepaliveMin, keepaliveInterval, keepaliveTimeout  time.Duration
	quotaBytes, memoryBytes, snapshotRateBytes         int64
	compactionMode, compactionRetention                string
	compactionBatch                                    int
	snapshotCount, catchUpEntries                      uint64
	compactionSleep, sessionTTL                        time.Duration
	warnApply, warnUnary, watchProgress                time.Duration
	corruptCheck, compactHashCheck                     time.Duration
	metrics, featureGates, logger, logFormat, logLevel string
	logOutputs                                         list
	pprof, ioUring                                     bool
	forceNewCluster                                    bool
	clientTLS, peerTLS                                 tlsOptions
	cipherSuites                                       list
	tlsMin, tlsMax                                     string
	selfSignedYears                                    uint
}

// tlsOptions are the flags of TLS that exist for clients and for peers.
type tlsOptions struct {
	server.TLS
	cns, hostnames list
}

func (o *memberOptions) register(f *pflag.FlagSet) {
	o.flags = f
	o.registerOurs(f)
	o.registerMember(f)
	o.registerCluster(f)
	o.registerLimits(f)
	o.registerTLS(f)
	o.registerLogs(f)
	registerLater(f)
	registerMeaningless(f)
}

// ours marks flags that etcd does not have.
const ours = "ours"

func isOurs(f *pflag.Flag) bool { _, ok := f.Annotations[ours]; return ok }

func (o *memberOptions) registerOurs(f *pflag.FlagSet) {
	f.IntVar(&o.id, "id", 0, "short form: number of this node in --cluster, from 1")
	f.Var(&o.cluster, "cluster", "short form: host:port of every node; each serves clients and peers on that one port")
	f.StringVar(&o.storage, "storage", "disk", `"disk", or "memory" for tests and demos: such a node forgets everything when it stops`)
	f.StringVar(&o.join, "join", "", "short form: host:port of any live node; adds this node, --id, to that one's cluster")
	f.StringVar(&o.address, "address", "", "with --join: host:port where the other nodes and clients reach this one (default localhost:8000+id)")
	f.StringVar(&o.configFile, "config-file", "", "YAML file with the names of flags as keys; other flags and the environment are then ignored")
	f.BoolVar(&o.version, "version", false, "print the version and exit")
	f.Int64Var(&o.snapshotRateBytes, "snapshot-rate-bytes", 0, "bytes a second that all snapshots may take which this member sends, to members that fell behind and to clients that save; 0: the default of 32 MiB, negative: no bound")
	f.Int64Var(&o.memoryBytes, "memory-budget-bytes", 0,
		"memory to stay within, however much data there is; 0: three quarters of $GOMEMLIMIT, else 224 MiB, or half of a smaller control group")
	f.DurationVar(&o.sessionTTL, "session-ttl", 10*time.Minute, "how long a session of the native API lives that is not used")
	f.BoolVar(&o.ioUring, "io-uring", true, "sync the log through io_uring where the kernel allows it; else, and without, by fdatasync, which holds a processor")
	for _, name := range []string{"id", "cluster", "storage", "join", "address", "memory-budget-bytes", "snapshot-rate-bytes", "session-ttl", "io-uring"} {
		f.Lookup(name).Annotations = map[string][]string{ours: nil}
	}
}

func (o *memberOptions) registerMember(f *pflag.FlagSet) {
	f.StringVar(&o.name, "name", "default", "name of this member")
	f.StringVar(&o.dataDir, "data-dir", "", "data directory (default NAME.raft-kv; raft-kv-ID in the short form)")
	f.StringVar(&o.walDir, "wal-dir", "", "directory of the log, say on a disk of its own (default: in the data directory)")
	o.listenClient, o.listenPeer = list{"http://localhost:2379"}, list{"http://localhost:2380"}
	f.Var(&o.listenClient, "listen-client-urls", "URLs to serve clients on; http and https may share a port")
	f.Var(&o.listenClientHTTP, "listen-client-http-urls", "URLs to serve HTTP for clients on; --listen-client-urls then serve gRPC alone")
	f.Var(&o.listenMetrics, "listen-metrics-urls", "URLs to serve metrics and health on, and nothing else")
	f.Var(&o.advertiseClient, "advertise-client-urls", "client URLs told to the cluster (default: the listen URLs)")
	f.Var(&o.listenPeer, "listen-peer-urls", "URLs to serve peers on")
	f.IntVar(&o.heartbeatMS, "heartbeat-interval", 100, "heartbeat interval in milliseconds")
	f.IntVar(&o.electionMS, "election-timeout", 1000, "election timeout in milliseconds")
	f.BoolVar(&o.preVote, "pre-vote", true, "ask before an election whether it could succeed; without it a new leader always waits for the election timeout")
	f.BoolVar(&o.initialTickAdvance, "initial-election-tick-advance", true, "do not wait a whole election timeout for a leader after the start")
}

func (o *memberOptions) registerCluster(f *pflag.FlagSet) {
	f.Var(&o.initialAdvertisePeer, "initial-advertise-peer-urls", "peer URLs told to the cluster (default: the listen URLs)")
	f.StringVar(&o.initialCluster, "initial-cluster", "", "name=peer-url of every initial member, comma separated")
	f.StringVar(&o.discoverySRV, "discovery-srv", "", "domain whose DNS records _etcd-server._tcp (and _etcd-server-ssl._tcp for https) name the initial members, instead of --initial-cluster")
	f.StringVar(&o.discoverySRVName, "discovery-srv-name", "", "suffix of the names of those records, as _etcd-server-SUFFIX._tcp")
	f.StringVar(&o.initialClusterState, "initial-cluster-state", "new", `"new", or "existing" for a member that was added to a live cluster`)
	f.BoolVar(&o.strictReconfig, "strict-reconfig-check", true, "refuse changes of the members that could cost the majority")
	f.IntVar(&o.maxLearners, "max-learners", 1, "most learners that the cluster may have at a time")
	f.BoolVar(&o.forceNewCluster, "force-new-cluster", false, "make a cluster of this member alone, of what its data directory has left; the others must never run again (see raft-kv recover --help)")
	f.StringVar(&o.initialToken, "initial-cluster-token", "raft-kv-cluster", "tells clusters with equal URLs apart")
}

func (o *memberOptions) registerLimits(f *pflag.FlagSet) {
	f.IntVar(&o.maxRequestBytes, "max-request-bytes", 3<<19, "largest request a client may send, in bytes")
	f.Int64Var(&o.maxResponseBytes, "max-response-bytes", math.MaxInt32, "most bytes that one read may take; clients read more in pages or by RangeStream")
	f.IntVar(&o.maxTxnOps, "max-txn-ops", 128, "most operations in a transaction")
	f.Uint32Var(&o.maxStreams, "max-concurrent-streams", math.MaxUint32, "most requests in flight on one connection")
	f.DurationVar(&o.keepaliveMin, "grpc-keepalive-min-time", 5*time.Second, "shortest interval at which a client may ping")
	f.DurationVar(&o.keepaliveInterval, "grpc-keepalive-interval", 2*time.Hour, "idle time after which the server pings a client; 0: never")
	f.DurationVar(&o.keepaliveTimeout, "grpc-keepalive-timeout", 20*time.Second, "how long the server waits for the answer to a ping; 0: it never pings")
	f.DurationVar(&o.corruptCheck, "corrupt-check-time", 0, "how often the leader compares all data of all members, which all of them read for that; 0: never")
	f.DurationVar(&o.compactHashCheck, "compact-hash-check-time", time.Minute, "with --feature-gates=CompactHashCheck=true: how often the leader compares the hashes that the members computed of compactions")
	f.DurationVar(&o.watchProgress, "watch-progress-notify-interval", 10*time.Minute, "how long a watch that asks for it goes without an event before it is told of progress")
	f.DurationVar(&o.warnApply, "warning-apply-duration", 100*time.Millisecond, "warn when applying takes longer")
	f.DurationVar(&o.warnUnary, "warning-unary-request-duration", 300*time.Millisecond, "warn when a unary request takes longer")
	f.Int64Var(&o.quotaBytes, "quota-backend-bytes", 0, "bound of the live data in bytes; 0: the default, negative: none")
	f.Uint64Var(&o.snapshotCount, "snapshot-count", 0, "log entries after which the state is flushed and the log released; 0: by their bytes alone")
	f.Uint64Var(&o.catchUpEntries, "snapshot-catchup-entries", 0, "most released log entries kept for followers that lag; 0: by their bytes alone")
	f.StringVar(&o.compactionMode, "auto-compaction-mode", "periodic", `what --auto-compaction-retention counts: "periodic" time or "revision"s`)
	f.StringVar(&o.compactionRetention, "auto-compaction-retention", "0", "history to keep: hours or a duration, or a number of revisions; 0: all")
	f.IntVar(&o.compactionBatch, "compaction-batch-limit", 0, "revisions that a compaction looks at at a time, and those that share a record with the last; 0: the default")
	f.DurationVar(&o.compactionSleep, "compaction-sleep-interval", 0, "pause of a compaction after each batch; 0: seven times as long as the batch took, at most 50ms")
	f.StringVar(&o.featureGates, "feature-gates", "", "name=true or name=false of etcd's features, comma separated")
}

func (o *memberOptions) registerTLS(f *pflag.FlagSet) {
	register := func(t *tlsOptions, prefix, names, crl, whose string) {
		f.StringVar(&t.CertFile, prefix+"cert-file", "", "certificate shown to "+whose)
		f.StringVar(&t.KeyFile, prefix+"key-file", "", "key of --"+prefix+"cert-file")
		f.StringVar(&t.ClientCertFile, prefix+"client-cert-file", "", "certificate shown where this member dials (default --"+prefix+"cert-file)")
		f.StringVar(&t.ClientKeyFile, prefix+"client-key-file", "", "key of --"+prefix+"client-cert-file")
		f.StringVar(&t.TrustedCAFile, prefix+"trusted-ca-file", "", "authorities that certify "+whose+", who must then show a certificate")
		f.BoolVar(&t.ClientCertAuth, prefix+"client-cert-auth", false, "demand a certificate of "+whose)
		f.StringVar(&t.CRLFile, crl, "", "revocation list for certificates of "+whose+", in DER")
		f.Var(&t.cns, names+"allowed-cn", "common names taken of "+whose)
		f.Var(&t.hostnames, names+"allowed-hostname", "host names taken of "+whose)
		f.BoolVar(&t.Auto, prefix+"auto-tls", false, "make a certificate for "+whose+" that is certified by nobody")
	}
	register(&o.clientTLS, "", "client-cert-", "client-crl-file", "clients")
	register(&o.peerTLS, "peer-", "peer-cert-", "peer-crl-file", "peers")
	f.BoolVar(&o.peerTLS.SkipAddressCheck, "peer-skip-client-san-verification", false, "take a peer's certificate from other addresses than it names")
	f.Var(&o.cipherSuites, "cipher-suites", "cipher suites of TLS 1.2 (default: those of Go)")
	f.StringVar(&o.tlsMin, "tls-min-version", "TLS1.2", "TLS1.2 or TLS1.3")
	f.StringVar(&o.tlsMax, "tls-max-version", "", "TLS1.2 or TLS1.3 (default: the newest)")
	f.UintVar(&o.selfSignedYears, "self-signed-cert-validity", 1, "years for which certificates of --auto-tls and --peer-auto-tls are valid")
}

func (o *memberOptions) registerLogs(f *pflag.FlagSet) {
	f.BoolVar(&o.pprof, "enable-pprof", false, "serve profiles under /debug/pprof/ on the client URLs")
	f.StringVar(&o.metrics, "metrics", "basic", `"basic", or "extensive" to add how long requests take`)
	f.StringVar(&o.logger, "logger", "zap", `"zap"`)
	f.StringVar(&o.logFormat, "log-format", "", `"console" or "json" (default: json when started with etcd's flags)`)
	f.StringVar(&o.logLevel, "log-level", "info", `"debug", "info", "warn" or "error"`)
	f.Var(&o.logOutputs, "log-outputs", `"default", "stdout", "stderr" or files, comma separated`)
}

func (o *memberOptions) short() bool {
	return o.flags.Changed("id") || o.flags.Changed("cluster") || o.flags.Changed("join")
}

// likeEtcd reports whether the member was started as etcd is.
func (o *memberOptions) likeEtcd() bool {
	like := false
	o.flags.Visit(func(f *pflag.Flag) { like = like || !isOurs(f) })
	return like && !o.short()
}

func (o *memberOptions) logging() logging {
	l := logging{format: o.logFormat, level: o.logLevel, levelGiven: o.flags.Changed("log-level"), outputs: o.logOutputs}
	if l.format == "" {
		l.format = "console"
		if o.likeEtcd() {
			l.format = "json"
		}
	}
	return l
}

// serverTLS is the TLS of the flags.
func (t *tlsOptions) serverTLS() server.TLS {
	of := t.TLS
	of.AllowedCNs, of.AllowedHostnames = t.cns, t.hostnames
	return of
}

// meaninglessGiven names the flags that were given and do nothing.
func (o *memberOptions) meaninglessGiven() (names []string) {
	for _, name := range meaningless() {
		if o.flags.Changed(name) {
			names = append(names, fmt.Sprintf("--%s", name))
		}
	}
	return names
}
