package main

import (
	"errors"
	"fmt"
	"math"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.uber.org/zap"

	"raftkv/server"
)

// config translates the flags. Its errors are about usage.
func (o *memberOptions) config() (server.Config, logging, error) {
	cfg := server.Config{
		Name: o.name, DataDir: o.dataDir, WALDir: o.walDir, Memory: o.storage == "memory",
		ListenClientHTTPURLs: o.listenClientHTTP, ListenMetricsURLs: o.listenMetrics,
		InitialClusterToken: o.initialToken,
		HeartbeatInterval:   time.Duration(o.heartbeatMS) * time.Millisecond,
		ElectionTimeout:     time.Duration(o.electionMS) * time.Millisecond,
		FullFirstElection:   !o.initialTickAdvance, NoPreVote: !o.preVote,
		Existing: o.initialClusterState == "existing", LaxReconfigCheck: !o.strictReconfig, MaxLearners: o.maxLearners,
		MaxRequestBytes: o.maxRequestBytes, MaxResponseBytes: o.maxResponseBytes, MaxTxnOps: o.maxTxnOps, SessionTTL: o.sessionTTL, MaxConcurrentStreams: o.maxStreams,
		SnapshotCount: o.snapshotCount, SnapshotCatchUpEntries: o.catchUpEntries,
		MemoryBudgetBytes: o.memoryBytes, SnapshotRateBytes: o.snapshotRateBytes, NoIOUring: !o.ioUring,
		QuotaBackendBytes: o.quotaBytes, CompactionBatchLimit: o.compactionBatch, CompactionSleepInterval: o.compactionSleep,
		WatchProgressNotifyInterval: o.watchProgress,
		WarnApplyDuration:           o.warnApply, WarnUnaryDuration: o.warnUnary,
		ClientTLS: o.clientTLS.serverTLS(), PeerTLS: o.peerTLS.serverTLS(),
		TLSCommon: server.TLSCommon{
			CipherSuites: o.cipherSuites, TLSMinVersion: o.tlsMin, TLSMaxVersion: o.tlsMax, SelfSignedYears: o.selfSignedYears,
		},
		ExtensiveMetrics: o.metrics == "extensive", Pprof: o.pprof,
	}
	logs := o.logging()
	errs := []error{o.check(), logs.validate(), o.keepalive(&cfg), o.compaction(&cfg), o.checks(&cfg)}
	errs = append(errs, refuseLater(o.flags)...)
	if o.short() {
		errs = append(errs, o.shortForm(&cfg))
	} else {
		errs = append(errs, o.longForm(&cfg))
	}
	if err := errors.Join(errs...); err != nil {
		return cfg, logs, err
	}
	if names := o.meaninglessGiven(); len(names) > 0 {
		o.note("flags that do nothing here are ignored", zap.Strings("flags", names))
	}
	cfg.EnsureDefaults()
	return cfg, logs, cfg.Validate()
}

// check judges what has only a few values.
func (o *memberOptions) check() error {
	var errs []error
	if o.storage != "disk" && o.storage != "memory" {
		errs = append(errs, fmt.Errorf(`--storage must be "disk" or "memory", not %q`, o.storage))
	}
	if o.initialClusterState != "new" && o.initialClusterState != "existing" {
		errs = append(errs, fmt.Errorf(`--initial-cluster-state must be "new" or "existing", not %q`, o.initialClusterState))
	}
	if o.maxLearners < 1 {
		errs = append(errs, fmt.Errorf("--max-learners (%d) must be at least 1", o.maxLearners))
	}
	if o.heartbeatMS <= 0 || o.electionMS <= 0 {
		errs = append(errs, errors.New("--heartbeat-interval and --election-timeout must be positive"))
	}
	// Zeros would mean the defaults to the server.
	if o.maxRequestBytes == 0 {
		errs = append(errs, errors.New("--max-request-bytes (0) must be positive"))
	}
	if o.maxResponseBytes == 0 {
		errs = append(errs, errors.New("--max-response-bytes (0) must be positive"))
	}
	if o.maxTxnOps == 0 {
		errs = append(errs, errors.New("--max-txn-ops (0) must be positive"))
	}
	if o.metrics != "basic" && o.metrics != "extensive" {
		errs = append(errs, fmt.Errorf(`--metrics must be "basic" or "extensive", not %q`, o.metrics))
	}
	if o.logger != "zap" {
		errs = append(errs, fmt.Errorf(`--logger must be "zap", not %q`, o.logger))
	}
	if o.warnApply < 0 || o.warnUnary < 0 {
		errs = append(errs, errors.New("--warning-apply-duration and --warning-unary-request-duration must not be negative"))
	}
	if o.selfSignedYears == 0 {
		errs = append(errs, errors.New("--self-signed-cert-validity must be at least 1"))
	}
	return errors.Join(errs...)
}

// keepalive translates etcd's zeros, which turn something off.
func (o *memberOptions) keepalive(cfg *server.Config) error {
	if o.keepaliveMin < 0 || o.keepaliveInterval < 0 || o.keepaliveTimeout < 0 {
		return errors.New("--grpc-keepalive-min-time, --grpc-keepalive-interval and --grpc-keepalive-timeout must not be negative")
	}
	cfg.KeepaliveMinTime = max(o.keepaliveMin, time.Nanosecond)
	cfg.KeepaliveInterval, cfg.KeepaliveTimeout = o.keepaliveInterval, o.keepaliveTimeout
	if o.keepaliveInterval == 0 || o.keepaliveTimeout == 0 {
		cfg.KeepaliveInterval, cfg.KeepaliveTimeout = math.MaxInt64, 0
	}
	return nil
}

// compaction reads --auto-compaction-retention, whose unit depends on the mode.
func (o *memberOptions) compaction(cfg *server.Config) error {
	number, notANumber := strconv.ParseInt(o.compactionRetention, 10, 64)
	switch o.compactionMode {
	case "revision":
		if notANumber != nil || number < 0 {
			return fmt.Errorf("--auto-compaction-retention %q is not a number of revisions", o.compactionRetention)
		}
		cfg.AutoCompactionRevisions = number
	case "periodic":
		period, err := time.ParseDuration(o.compactionRetention)
		if notANumber == nil && number <= int64(math.MaxInt64/time.Hour) {
			period, err = time.Duration(number)*time.Hour, nil
		}
		if err != nil || period < 0 {
			return fmt.Errorf("--auto-compaction-retention %q is neither hours nor a duration like 30m", o.compactionRetention)
		}
		cfg.AutoCompactionPeriod = period
	default:
		return fmt.Errorf(`--auto-compaction-mode must be "periodic" or "revision", not %q`, o.compactionMode)
	}
	return nil
}

// checks reads what is to be compared between the members, and how often.
func (o *memberOptions) checks(cfg *server.Config) error {
	gates, errs := readFeatureGates(o.featureGates)
	if o.corruptCheck < 0 {
		errs = append(errs, fmt.Errorf("--corrupt-check-time (%v) must not be negative", o.corruptCheck))
	}
	if o.compactHashCheck <= 0 {
		errs = append(errs, fmt.Errorf("--compact-hash-check-time (%v) must be positive", o.compactHashCheck))
	}
	cfg.InitialCorruptCheck, cfg.CorruptCheckInterval = gates.initialCorruptCheck, o.corruptCheck
	if gates.compactHashCheck {
		cfg.CompactHashCheckInterval = o.compactHashCheck
	}
	return errors.Join(errs...)
}

func (o *memberOptions) shortForm(cfg *server.Config) error {
	for _, long := range []string{
		"name", "listen-client-urls", "listen-client-http-urls", "advertise-client-urls", "listen-peer-urls",
		"initial-advertise-peer-urls", "initial-cluster", "discovery-srv", "discovery-srv-name",
	} {
		if o.flags.Changed(long) {
			return fmt.Errorf("--id and --cluster already say what --%s would; use one form", long)
		}
	}
	if o.flags.Changed("join") {
		return o.joinForm(cfg)
	}
	if o.address != "" {
		return errors.New("--address goes with --join; --cluster already says where this node is")
	}
	if len(o.cluster) == 0 {
		return errors.New("--id needs --cluster host:port,host:port,…")
	}
	scheme, err := shortScheme(cfg)
	if err != nil {
		return err
	}
	for i, address := range o.cluster {
		_, port, err := net.SplitHostPort(address)
		if err != nil || port == "" {
			return fmt.Errorf("--cluster: %q is not host:port", address)
		}
		if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
			return fmt.Errorf("--cluster: %q: port %q is not a number from 1 to 65535", address, port)
		}
		cfg.InitialCluster = append(cfg.InitialCluster, server.Member{Name: fmt.Sprint(i + 1), PeerURLs: []string{scheme + address}})
	}
	if o.id < 1 || o.id > len(o.cluster) {
		return fmt.Errorf("--id %d is not in the cluster list of %d nodes; use 1 to %d", o.id, len(o.cluster), len(o.cluster))
	}
	own := []string{scheme + o.cluster[o.id-1]}
	cfg.Name = fmt.Sprint(o.id)
	cfg.ListenClientURLs, cfg.AdvertiseClientURLs, cfg.ListenPeerURLs = own, own, own
	if cfg.DataDir == "" {
		cfg.DataDir = "raft-kv-" + cfg.Name
	}
	return nil
}

// shortScheme is http, or https when TLS is set up. The one port is secured as
// a whole: half of it in plain text would leave the other half open, too.
func shortScheme(cfg *server.Config) (string, error) {
	clients, peers := cfg.ClientTLS.Configured(), cfg.PeerTLS.Configured()
	switch {
	case clients != peers:
		return "", errors.New("--id and --cluster serve clients and peers on one port; give both --cert-file and --peer-cert-file, or neither")
	case clients:
		return "https://", nil
	}
	return "http://", nil
}

func (o *memberOptions) longForm(cfg *server.Config) error {
	cfg.ListenClientURLs, cfg.ListenPeerURLs = o.listenClient, o.listenPeer
	cfg.AdvertiseClientURLs = o.advertiseClient
	advertised := o.initialAdvertisePeer
	if len(advertised) == 0 {
		advertised = o.listenPeer
	}
	switch {
	case o.discoverySRV != "" && o.initialCluster != "":
		return errors.New("--initial-cluster and --discovery-srv both say who the initial members are; use one")
	case o.discoverySRV == "" && o.discoverySRVName != "":
		return errors.New("--discovery-srv-name goes with --discovery-srv")
	}
	cfg.DiscoverySRV, cfg.DiscoverySRVName = o.discoverySRV, o.discoverySRVName
	if o.initialCluster == "" {
		cfg.InitialCluster = []server.Member{{Name: o.name, PeerURLs: advertised}}
		return nil
	}
	members, err := parseInitialCluster(o.initialCluster)
	if err != nil {
		return err
	}
	cfg.InitialCluster = members
	return o.checkAdvertised(members, advertised)
}

// checkAdvertised refuses flags that contradict each other, as etcd does.
func (o *memberOptions) checkAdvertised(members []server.Member, advertised []string) error {
	for _, m := range members {
		if m.Name != o.name || !o.flags.Changed("initial-advertise-peer-urls") {
			continue
		}
		if !slices.Equal(slices.Sorted(slices.Values(m.PeerURLs)), slices.Sorted(slices.Values(advertised))) {
			return fmt.Errorf("--initial-cluster gives %v for %q, --initial-advertise-peer-urls says %v; make them equal", m.PeerURLs, o.name, advertised)
		}
	}
	return nil
}

// parseInitialCluster reads name=url,name=url; a name may be repeated to give
// it several URLs.
func parseInitialCluster(s string) ([]server.Member, error) {
	var members []server.Member
	index := map[string]int{}
	for item := range strings.SplitSeq(s, ",") {
		name, url, ok := strings.Cut(strings.TrimSpace(item), "=")
		if !ok || name == "" || url == "" {
			return nil, fmt.Errorf("--initial-cluster: %q is not name=url", item)
		}
		i, seen := index[name]
		if !seen {
			i = len(members)
			index[name] = i
			members = append(members, server.Member{Name: name})
		}
		members[i].PeerURLs = append(members[i].PeerURLs, url)
	}
	return members, nil
}
