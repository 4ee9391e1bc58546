package etcdctl

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"go.etcd.io/etcd/server/v3/embed"
	"go.uber.org/zap"

	"raftkv/test/e2e/harness"
)

// founders is how many members a cluster starts with.
const founders = 3

// member says how a member is started.
type member struct {
	Name, Dir          string
	ClientURL, PeerURL string
	InitialCluster     string
	Existing           bool
}

// kind is raft-kv or etcd.
type kind struct {
	name string
	// command starts a member; once it prints ready, it serves.
	command func(m member) harness.Command
	ready   string
}

// cluster is three members, or four, of one kind.
type cluster struct {
	t       *testing.T
	kind    kind
	etcdctl string
	dir     string
	members []member
	names   map[string]string // what stands for ids that were captured
}

// memberVariable tells a process that it is to be an etcd, and how.
const memberVariable = "ORACLE_ETCD_MEMBER"

// serveEtcd makes this process an etcd if it was started as one, until its
// standard input ends.
func serveEtcd() (served bool, err error) {
	setting := os.Getenv(memberVariable)
	if setting == "" {
		return false, nil
	}
	var m member
	if err := json.Unmarshal([]byte(setting), &m); err != nil {
		return true, err
	}
	client, clientErr := url.Parse(m.ClientURL)
	peer, peerErr := url.Parse(m.PeerURL)
	if err := errors.Join(clientErr, peerErr); err != nil {
		return true, err
	}
	cfg := embed.NewConfig()
	cfg.Name, cfg.Dir, cfg.UnsafeNoFsync = m.Name, m.Dir, true
	cfg.ListenClientUrls, cfg.AdvertiseClientUrls = []url.URL{*client}, []url.URL{*client}
	cfg.ListenPeerUrls, cfg.AdvertisePeerUrls = []url.URL{*peer}, []url.URL{*peer}
	cfg.InitialCluster = m.InitialCluster
	if m.Existing {
		cfg.ClusterState = embed.ClusterStateFlagExisting
	}
	cfg.ZapLoggerBuilder = embed.NewZapLoggerBuilder(zap.NewNop())
	e, err := embed.StartEtcd(cfg)
	if err != nil {
		return true, err
	}
	defer e.Close()
	select {
	case <-e.Server.ReadyNotify():
	case <-e.Server.StopNotify():
		return true, errors.New("etcd stopped")
	}
	fmt.Println(etcdReady)
	_, err = io.Copy(io.Discard, os.Stdin)
	return true, err
}

const etcdReady = "etcd serves"

// kinds are the two that are compared.
func kinds(t *testing.T, bin harness.Binaries) []kind {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return []kind{
		{name: "etcd", ready: etcdReady, command: func(m member) harness.Command {
			setting, err := json.Marshal(m)
			if err != nil {
				t.Fatal(err)
			}
			// Its standard input ends with this process.
			input, _ := openPipe(t)
			return harness.Command{Name: "etcd " + m.Name, Path: self, Env: []string{memberVariable + "=" + string(setting)}, Stdin: input}
		}},
		{name: "raft-kv", ready: "ready to serve client requests", command: func(m member) harness.Command {
			state := "new"
			if m.Existing {
				state = "existing"
			}
			return harness.Command{Name: "raft-kv " + m.Name, Path: bin.RaftKV, Args: []string{
				"--name", m.Name, "--data-dir", m.Dir, "--listen-client-urls", m.ClientURL, "--advertise-client-urls", m.ClientURL,
				"--listen-peer-urls", m.PeerURL, "--initial-advertise-peer-urls", m.PeerURL,
				"--initial-cluster", m.InitialCluster, "--initial-cluster-state", state, "--log-format", "console",
			}}
		}},
	}
}

// openPipe is a standard input that ends with the test, or with its process.
func openPipe(t *testing.T) (read, write *os.File) {
	t.Helper()
	read, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(read.Close(), write.Close()); err != nil {
			t.Error(err)
		}
	})
	return read, write
}

// newCluster starts the founders; a fourth member is prepared.
func newCluster(t *testing.T, k kind, bin harness.Binaries) *cluster {
	t.Helper()
	c := &cluster{t: t, kind: k, etcdctl: bin.Etcdctl, dir: t.TempDir(), names: map[string]string{}}
	first := harness.FreePorts(t, 2*(founders+1))
	var initial []string
	for i := range founders + 1 {
		m := member{
			Name: fmt.Sprintf("m%d", i+1), Dir: filepath.Join(c.dir, fmt.Sprintf("m%d", i+1)),
			ClientURL: fmt.Sprintf("http://127.0.0.1:%d", first+2*i), PeerURL: fmt.Sprintf("http://127.0.0.1:%d", first+2*i+1),
			Existing: i >= founders,
		}
		initial = append(initial, m.Name+"="+m.PeerURL)
		c.members = append(c.members, m)
	}
	for i := range c.members {
		c.members[i].InitialCluster = strings.Join(initial[:max(i+1, founders)], ",")
	}
	var processes []*harness.Process
	for _, m := range c.members[:founders] {
		processes = append(processes, harness.Start(t, k.command(m)))
	}
	for _, p := range processes {
		p.ExactLine(harness.Patience, k.ready)
	}
	c.nameMembers()
	return c
}

// listed is what of etcdctl's JSON the test itself needs.
type listed struct {
	Header struct {
		ClusterID uint64 `json:"cluster_id"`
	}
	Members []struct {
		ID       uint64
		PeerURLs []string `json:"peerURLs"`
	}
}

// nameMembers gives the ids of the cluster and its members names.
func (c *cluster) nameMembers() {
	c.t.Helper()
	var list listed
	c.decode(&list, "member", "list", "-w", "json")
	c.name("cluster", list.Header.ClusterID)
	for _, m := range list.Members {
		at := slices.IndexFunc(c.members, func(known member) bool { return slices.Contains(m.PeerURLs, known.PeerURL) })
		if at < 0 {
			c.t.Fatalf("member list of %s: %+v is none of %+v", c.kind.name, m, c.members)
		}
		c.name(c.members[at].Name, m.ID)
	}
}

func (c *cluster) name(name string, id uint64) {
	c.names[name] = fmt.Sprintf("%x", id)
}

func (c *cluster) decode(into any, args ...string) {
	c.t.Helper()
	r := c.run("", c.members[:1], args...)
	if err := json.Unmarshal([]byte(r.Stdout), into); err != nil || r.Code != 0 {
		c.t.Fatalf("%s: etcdctl %v: %v, %v", c.kind.name, args, err, r)
	}
}

// leader is the member that leads, and one that does not.
func (c *cluster) leader() (leader, other member) {
	c.t.Helper()
	harness.Until(c.t, harness.Patience, "a leader", func(context.Context) error {
		var found []struct {
			Endpoint string
			Status   struct {
				Header struct {
					MemberID uint64 `json:"member_id"`
				}
				Leader uint64
			}
		}
		r := c.run("", c.members[:founders], "endpoint", "status", "-w", "json")
		if err := json.Unmarshal([]byte(r.Stdout), &found); err != nil {
			return fmt.Errorf("%w: %v", err, r)
		}
		for i, e := range found {
			if e.Status.Leader != 0 && e.Status.Leader == e.Status.Header.MemberID {
				leader, other = c.members[i], c.members[(i+1)%founders]
				return nil
			}
		}
		return errors.New("nobody leads")
	})
	return leader, other
}

func (c *cluster) command(stdin io.Reader, at []member, args ...string) harness.Command {
	var endpoints []string
	for _, m := range at {
		endpoints = append(endpoints, strings.TrimPrefix(m.ClientURL, "http://"))
	}
	return harness.Command{
		Name: "etcdctl " + strings.Join(args, " "), Path: c.etcdctl, Dir: c.dir, Stdin: stdin,
		Args: append([]string{"--endpoints=" + strings.Join(endpoints, ",")}, args...),
	}
}

func (c *cluster) run(stdin string, at []member, args ...string) harness.Result {
	c.t.Helper()
	return harness.Run(c.t, harness.Patience, c.command(strings.NewReader(stdin), at, args...))
}
