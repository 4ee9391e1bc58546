package main

import (
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"raftkv/server"
)

// memberOptions are the flags of one member: the short form (--id, --cluster)
// or etcd's long form.
type memberOptions struct {
	id      int
	cluster []string

	name                 string
	dataDir              string
	storage              string
	listenClient         []string
	advertiseClient      []string
	listenPeer           []string
	initialAdvertisePeer []string
	initialCluster       string
	initialClusterState  string
	initialClusterToken  string
	heartbeatMS          int
	electionMS           int
	maxRequestBytes      int
	maxTxnOps            int
	logFormat, logLevel  string
	pprof                bool
	version              bool
	flags                *pflag.FlagSet
}

func (o *memberOptions) register(f *pflag.FlagSet) {
	o.flags = f
	f.IntVar(&o.id, "id", 0, "short form: number of this node in --cluster, from 1")
	f.StringSliceVar(&o.cluster, "cluster", nil, "short form: host:port of every node; each serves clients and peers on that one port")
	f.StringVar(&o.name, "name", "default", "name of this member")
	f.StringVar(&o.dataDir, "data-dir", "", "data directory (default NAME.raft-kv; raft-kv-ID in the short form)")
	f.StringVar(&o.storage, "storage", "disk", `"disk", or "memory" for tests and demos: such a node forgets everything when it stops`)
	f.StringSliceVar(&o.listenClient, "listen-client-urls", []string{"http://localhost:2379"}, "URLs to serve clients on")
	f.StringSliceVar(&o.advertiseClient, "advertise-client-urls", nil, "client URLs told to the cluster (default: the listen URLs)")
	f.StringSliceVar(&o.listenPeer, "listen-peer-urls", []string{"http://localhost:2380"}, "URLs to serve peers on")
	f.StringSliceVar(&o.initialAdvertisePeer, "initial-advertise-peer-urls", nil, "peer URLs told to the cluster (default: the listen URLs)")
	f.StringVar(&o.initialCluster, "initial-cluster", "", "name=peer-url of every initial member, comma separated")
	f.StringVar(&o.initialClusterState, "initial-cluster-state", "new", `"new"; joining an "existing" cluster is not supported yet`)
	f.StringVar(&o.initialClusterToken, "initial-cluster-token", "raft-kv-cluster", "tells clusters with equal URLs apart")
	f.IntVar(&o.heartbeatMS, "heartbeat-interval", 100, "heartbeat interval in milliseconds")
	f.IntVar(&o.electionMS, "election-timeout", 1000, "election timeout in milliseconds")
	f.IntVar(&o.maxRequestBytes, "max-request-bytes", 3<<19, "largest request a client may send, in bytes")
	f.IntVar(&o.maxTxnOps, "max-txn-ops", 128, "most operations in a transaction")
	f.BoolVar(&o.pprof, "enable-pprof", false, "serve profiles under /debug/pprof/ on the client URLs")
	f.StringVar(&o.logFormat, "log-format", "console", `"console" or "json"`)
	f.StringVar(&o.logLevel, "log-level", "info", `"debug", "info", "warn" or "error"`)
}

func (o *memberOptions) short() bool { return o.flags.Changed("id") || o.flags.Changed("cluster") }

// config translates the flags. Its errors are about usage.
func (o *memberOptions) config() (server.Config, error) {
	cfg := server.Config{
		Name: o.name, DataDir: o.dataDir, Memory: o.storage == "memory",
		InitialClusterToken: o.initialClusterToken,
		HeartbeatInterval:   time.Duration(o.heartbeatMS) * time.Millisecond,
		ElectionTimeout:     time.Duration(o.electionMS) * time.Millisecond,
		MaxRequestBytes:     o.maxRequestBytes, MaxTxnOps: o.maxTxnOps,
		Pprof: o.pprof,
	}
	var errs []error
	if o.storage != "disk" && o.storage != "memory" {
		errs = append(errs, fmt.Errorf(`--storage must be "disk" or "memory", not %q`, o.storage))
	}
	if o.initialClusterState != "new" {
		errs = append(errs, fmt.Errorf(`--initial-cluster-state %q is not supported yet, only "new" is`, o.initialClusterState))
	}
	if o.heartbeatMS <= 0 || o.electionMS <= 0 {
		errs = append(errs, errors.New("--heartbeat-interval and --election-timeout must be positive"))
	}
	if o.short() {
		errs = append(errs, o.shortForm(&cfg))
	} else {
		errs = append(errs, o.longForm(&cfg))
	}
	if err := errors.Join(errs...); err != nil {
		return cfg, err
	}
	cfg.EnsureDefaults()
	return cfg, cfg.Validate()
}

func (o *memberOptions) shortForm(cfg *server.Config) error {
	for _, long := range []string{"name", "listen-client-urls", "advertise-client-urls", "listen-peer-urls", "initial-advertise-peer-urls", "initial-cluster"} {
		if o.flags.Changed(long) {
			return fmt.Errorf("--id and --cluster already say what --%s would; use one form", long)
		}
	}
	if len(o.cluster) == 0 {
		return errors.New("--id needs --cluster host:port,host:port,…")
	}
	for i, address := range o.cluster {
		if _, port, err := net.SplitHostPort(address); err != nil || port == "" {
			return fmt.Errorf("--cluster: %q is not host:port", address)
		}
		cfg.InitialCluster = append(cfg.InitialCluster, server.Member{Name: fmt.Sprint(i + 1), PeerURLs: []string{"http://" + address}})
	}
	if o.id < 1 || o.id > len(o.cluster) {
		return fmt.Errorf("--id %d is not in the cluster list of %d nodes; use 1 to %d", o.id, len(o.cluster), len(o.cluster))
	}
	own := []string{"http://" + o.cluster[o.id-1]}
	cfg.Name = fmt.Sprint(o.id)
	cfg.ListenClientURLs, cfg.AdvertiseClientURLs, cfg.ListenPeerURLs = own, own, own
	if cfg.DataDir == "" {
		cfg.DataDir = "raft-kv-" + cfg.Name
	}
	return nil
}

func (o *memberOptions) longForm(cfg *server.Config) error {
	cfg.ListenClientURLs, cfg.ListenPeerURLs = o.listenClient, o.listenPeer
	cfg.AdvertiseClientURLs = o.advertiseClient
	advertised := o.initialAdvertisePeer
	if len(advertised) == 0 {
		advertised = o.listenPeer
	}
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
		if m.Name != o.name {
			continue
		}
		if o.flags.Changed("initial-advertise-peer-urls") && strings.Join(m.PeerURLs, ",") != strings.Join(advertised, ",") {
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
	for _, item := range strings.Split(s, ",") {
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
