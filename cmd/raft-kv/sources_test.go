package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/spf13/pflag"

	"raftkv/server"
)

// resolved parses a command line, with variables and the text of a file.
func resolved(t *testing.T, args []string, environ []string, file string) (server.Config, *memberOptions, error) {
	t.Helper()
	if file != "" {
		path := filepath.Join(t.TempDir(), "raft-kv.yaml")
		if err := os.WriteFile(path, []byte(file), 0o600); err != nil {
			t.Fatal(err)
		}
		args = append(args, "--config-file", path)
	}
	given := &memberOptions{}
	f := pflag.NewFlagSet("raft-kv", pflag.ContinueOnError)
	given.register(f)
	if err := f.Parse(args); err != nil {
		t.Fatal(err)
	}
	o, err := given.resolve(environ)
	if err != nil {
		return server.Config{}, nil, err
	}
	cfg, _, err := o.config()
	return cfg, o, err
}

func TestPrecedence(t *testing.T) {
	for _, tc := range []struct {
		name  string
		args  []string
		env   []string
		file  string
		want  string
		hosts []string
	}{
		{name: "default", want: "default"},
		{name: "etcd's variable", env: []string{"ETCD_NAME=e"}, want: "e"},
		{name: "own variable wins", env: []string{"ETCD_NAME=e", "RAFTKV_NAME=r"}, want: "r"},
		{name: "command line wins", args: []string{"--name=f"}, env: []string{"ETCD_NAME=e", "RAFTKV_NAME=r"}, want: "f"},
		{name: "an empty variable is none", env: []string{"ETCD_NAME=e", "RAFTKV_NAME="}, want: "e"},
		{name: "the last one wins", args: []string{"--name=a", "--name", "b"}, want: "b"},
		{
			name: "also of lists", args: []string{"--listen-client-urls=http://a:1,http://b:1", "--listen-client-urls", "http://c:1, http://d:1"},
			want: "default", hosts: []string{"http://c:1", "http://d:1"},
		},
		{name: "a file stands alone", args: []string{"--name=f"}, env: []string{"RAFTKV_NAME=r", "ETCD_LISTEN_CLIENT_URLS=http://x:1"}, file: "name: why", want: "why"},
		{name: "a file and its defaults", args: []string{"--name=f"}, file: "log-level: warn", want: "default"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			cfg, _, err := resolved(t, tc.args, tc.env, tc.file)
			if err != nil || cfg.Name != tc.want {
				t.Errorf("name %q (%v), want %q", cfg.Name, err, tc.want)
			}
			if tc.hosts == nil {
				tc.hosts = []string{"http://localhost:2379"}
			}
			if !slices.Equal(cfg.ListenClientURLs, tc.hosts) {
				t.Errorf("client URLs %v, want %v", cfg.ListenClientURLs, tc.hosts)
			}
		})
	}
}

func TestConfigFileByVariable(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f.yaml")
	if err := os.WriteFile(path, []byte("name: filed"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, prefix := range []string{"ETCD", "RAFTKV"} {
		if cfg, _, err := resolved(t, nil, []string{prefix + "_CONFIG_FILE=" + path}, ""); err != nil || cfg.Name != "filed" {
			t.Errorf("%s: name %q, %v", prefix, cfg.Name, err)
		}
	}
}

// TestEtcdsFile is what etcd's own sample holds, and more.
func TestEtcdsFile(t *testing.T) {
	cfg, o, err := resolved(t, nil, nil, `
name: infra1
data-dir: /var/lib/kv
snapshot-count: 10000
heartbeat-interval: 50
election-timeout: 500
quota-backend-bytes: 8589934592
listen-peer-urls: http://10.0.0.1:2380
listen-client-urls: http://10.0.0.1:2379,http://127.0.0.1:2379
max-snapshots: 5
cors:
initial-advertise-peer-urls: http://10.0.0.1:2380
advertise-client-urls: http://10.0.0.1:2379
initial-cluster: infra1=http://10.0.0.1:2380,infra2=http://10.0.0.2:2380
initial-cluster-token: token
initial-cluster-state: new
strict-reconfig-check: true
enable-pprof: true
client-transport-security:
  cert-file:
  client-cert-auth: false
  auto-tls: true
peer-transport-security:
  auto-tls: false
  allowed-cn: []
self-signed-cert-validity: 2
log-level: debug
logger: zap
log-outputs: [stderr, /tmp/x.log]
force-new-cluster: false
auto-compaction-mode: periodic
auto-compaction-retention: "1"
grpc-keepalive-min-time: 7000000000
warning-apply-duration: 250ms
tls-min-version: "TLS1.3"
`)
	if err != nil {
		t.Fatal(err)
	}
	if cfg.Name != "infra1" || cfg.DataDir != "/var/lib/kv" || cfg.ElectionTimeout != 500*time.Millisecond || cfg.QuotaBackendBytes != 8589934592 ||
		len(cfg.ListenClientURLs) != 2 || len(cfg.InitialCluster) != 2 || !cfg.Pprof || !cfg.ClientTLS.Auto || cfg.PeerTLS.Auto ||
		cfg.SelfSignedYears != 2 || cfg.AutoCompactionPeriod != time.Hour || cfg.KeepaliveMinTime != 7*time.Second ||
		cfg.WarnApplyDuration != 250*time.Millisecond || cfg.TLSMinVersion != "TLS1.3" || !slices.Equal(o.logOutputs, []string{"stderr", "/tmp/x.log"}) {
		t.Errorf("%+v", cfg)
	}
	if l := o.logging(); l.format != "json" || l.level != "debug" {
		t.Errorf("logging %+v", l)
	}
}

func TestFileRefusals(t *testing.T) {
	for want, file := range map[string]string{
		"not valid YAML":                  "name: [",
		`key "name" already set`:          "name: a\nname: b",
		"not a list of keys and values":   "- name",
		`unknown key "nmae"`:              "nmae: a",
		`unknown key "config-file"`:       "config-file: b",
		`unknown key "certfile" below "c`: "client-transport-security: {certfile: x}",
		`key "peer-transport-security": `: "peer-transport-security: true",
		`key "name": YAML takes`:          "name: no",
		`key "max-txn-ops": `:             "max-txn-ops: many",
		`key "name": a single value`:      "name: {a: b}",
		`key "log-outputs": 7 is not`:     "log-outputs: [7]",
		"--auth-token is not supported":   "auth-token: simple",
	} {
		if _, _, err := resolved(t, nil, nil, file); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v does not say %q", file, err, want)
		}
	}
	if _, _, err := resolved(t, []string{"--config-file=/nowhere.yaml"}, nil, ""); err == nil || !strings.Contains(err.Error(), "cannot be read") {
		t.Errorf("a missing file: %v", err)
	}
}

func TestVariables(t *testing.T) {
	_, o, err := resolved(t, nil, []string{"ETCD_PORT=tcp://1", "RAFTKV_NMAE=x", "RAFTKV_ENDPOINTS=y", "ETCD_ID=3", "PATH=/bin", "ETCDCTL_API=3"}, "")
	if err != nil || len(o.notices) != 1 {
		t.Fatalf("%v, notices %v", err, o.notices)
	}
	if got := fmt.Sprint(o.notices[0].fields[0].Interface); got != "[ETCD_ID ETCD_PORT RAFTKV_NMAE]" {
		t.Errorf("ignored with a warning: %s", got)
	}
	for want, setting := range map[string]string{
		"$ETCD_MAX_TXN_OPS: ": "ETCD_MAX_TXN_OPS=many", "--discovery-token is not supported yet": "ETCD_DISCOVERY_TOKEN=abc",
	} {
		if _, _, err := resolved(t, nil, []string{setting}, ""); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v does not say %q", setting, err, want)
		}
	}
	if _, o, err := resolved(t, nil, []string{"RAFTKV_ID=1", "RAFTKV_CLUSTER=a:1"}, ""); err != nil || !o.short() {
		t.Errorf("the short form by variables: %v", err)
	}
}

// TestEveryFlagOfTheList is the list of shared flags: each is taken, or refused
// as not supported yet; none is unknown.
func TestEveryFlagOfTheList(t *testing.T) {
	known := &memberOptions{}
	f := pflag.NewFlagSet("", pflag.ContinueOnError)
	known.register(f)
	for _, name := range strings.Fields(`
		name data-dir wal-dir listen-client-urls advertise-client-urls listen-peer-urls initial-advertise-peer-urls listen-client-http-urls
		listen-metrics-urls heartbeat-interval election-timeout pre-vote snapshot-count snapshot-catchup-entries initial-election-tick-advance
		initial-cluster initial-cluster-state initial-cluster-token strict-reconfig-check force-new-cluster discovery-srv max-learners
		quota-backend-bytes max-txn-ops max-request-bytes max-concurrent-streams grpc-keepalive-min-time grpc-keepalive-interval
		grpc-keepalive-timeout warning-apply-duration warning-unary-request-duration auto-compaction-mode auto-compaction-retention
		compaction-batch-limit compaction-sleep-interval cert-file key-file trusted-ca-file client-cert-auth client-cert-allowed-cn
		client-cert-allowed-hostname client-crl-file client-cert-file client-key-file auto-tls peer-cert-file peer-key-file peer-trusted-ca-file
		peer-client-cert-auth peer-cert-allowed-cn peer-cert-allowed-hostname peer-crl-file peer-client-cert-file peer-client-key-file peer-auto-tls
		cipher-suites tls-min-version tls-max-version self-signed-cert-validity auth-token auth-token-ttl bcrypt-cost corrupt-check-time
		compact-hash-check-time watch-progress-notify-interval feature-gates log-level log-format log-outputs logger metrics enable-pprof
		enable-distributed-tracing distributed-tracing-address distributed-tracing-service-name distributed-tracing-instance-id
		distributed-tracing-sampling-rate backend-batch-interval backend-batch-limit backend-bbolt-freelist-type config-file version`) {
		if f.Lookup(name) == nil {
			t.Errorf("--%s is unknown", name)
		}
	}
}

func TestLaterFlags(t *testing.T) {
	for _, args := range []string{
		"--auth-token=simple", "--discovery=x",
		"--enable-distributed-tracing=true",
		"--unsafe-no-fsync", "--log-outputs=systemd/journal",
	} {
		if _, _, err := resolved(t, []string{args}, nil, ""); err == nil || !strings.Contains(err.Error(), "not supported yet") {
			t.Errorf("%s: %v", args, err)
		}
	}
	// What asks for nothing is no news.
	_, o, err := resolved(t, []string{
		"--force-new-cluster=false", "--strict-reconfig-check=false", "--pre-vote", "--enable-distributed-tracing=false", "--discovery-srv=", "--corrupt-check-time=1h", "--compact-hash-check-time=1s",
		"--feature-gates=CompactHashCheck=true,InitialCorruptCheck=true,StopGRPCServiceOnDefrag=true,LeaseCheckpoint=true,LeaseCheckpointPersist=true,FastLeaseKeepAlive=true", "--cors=*",
	}, nil, "")
	if err != nil || len(o.notices) != 0 {
		t.Errorf("%v, notices %v", err, o)
	}
	_, o, err = resolved(t, []string{"--backend-batch-limit=7", "--max-wals=3"}, nil, "")
	if err != nil || len(o.notices) != 1 || fmt.Sprint(o.notices[0].fields[0].Interface) != "[--backend-batch-limit --max-wals]" {
		t.Errorf("flags that do nothing: %v, %v", err, o)
	}
}

func TestTranslation(t *testing.T) {
	cfg, _, err := resolved(t, []string{
		"--grpc-keepalive-interval=0", "--grpc-keepalive-min-time=0", "--auto-compaction-mode=revision", "--auto-compaction-retention=1000",
		"--max-concurrent-streams=7", "--snapshot-count=100", "--snapshot-catchup-entries=5", "--wal-dir=/log", "--memory-budget-bytes=64000000", "--metrics=extensive", "--initial-election-tick-advance=false", "--pre-vote=false", "--quota-backend-bytes=-1",
		"--initial-cluster=default=http://b:1,default=http://a:1", "--initial-advertise-peer-urls=http://a:1,http://b:1",
	}, nil, "")
	if err != nil {
		t.Fatal(err)
	}
	if cfg.KeepaliveInterval < 1000*time.Hour || cfg.KeepaliveMinTime > time.Microsecond || cfg.AutoCompactionRevisions != 1000 || cfg.AutoCompactionPeriod != 0 ||
		cfg.MaxConcurrentStreams != 7 || !cfg.ExtensiveMetrics || !cfg.FullFirstElection || !cfg.NoPreVote || cfg.QuotaBackendBytes != -1 ||
		cfg.SnapshotCount != 100 || cfg.SnapshotCatchUpEntries != 5 || cfg.WALDir != "/log" || cfg.MemoryBudgetBytes != 64000000 {
		t.Errorf("%+v", cfg)
	}
	for value, want := range map[string]time.Duration{"0": 0, "5": 5 * time.Hour, "30m": 30 * time.Minute} {
		if cfg, _, err := resolved(t, []string{"--auto-compaction-retention", value}, nil, ""); err != nil || cfg.AutoCompactionPeriod != want {
			t.Errorf("retention %s: %v, %v", value, cfg.AutoCompactionPeriod, err)
		}
	}
}

func TestLogFormatByStart(t *testing.T) {
	for want, lines := range map[string][]string{
		"console": {"", "--id 1 --cluster a:1", "--storage memory", "--name x --log-format console", "--id 1 --cluster a:1 --log-level debug"},
		"json":    {"--name x", "--log-level info", "--id 1 --cluster a:1 --log-format json"},
	} {
		for _, line := range lines {
			_, o, err := resolved(t, strings.Fields(line), nil, "")
			if err != nil || o.logging().format != want {
				t.Errorf("%q: %v, %v, want %s", line, o, err, want)
			}
		}
	}
	if _, o, err := resolved(t, nil, []string{"ETCD_NAME=x"}, ""); err != nil || o.logging().format != "json" {
		t.Errorf("by etcd's variable: %v", err)
	}
}
