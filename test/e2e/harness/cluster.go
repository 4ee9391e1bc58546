package harness

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"raftkv/rpc/kvstream/kvpb"
)

// Cluster is a set of nodes on this machine, started in the short form, each
// with one port and a directory raft-kv-N under Dir.
type Cluster struct {
	tb    testing.TB
	bin   Binaries
	flags []string
	// founders is the list that the first nodes are started with.
	founders string
	Dir      string
	Nodes    []*Node
}

// Node is one member. Process is its latest one.
type Node struct {
	*Process
	Number  int
	Port    int
	Address string
	// LongForm replaces the flags of the short form; it must make the node serve
	// clients at Address.
	LongForm []string

	cluster *Cluster
	through string // address of the node that this one joins through; else it is a founder
	client  *clientv3.Client
}

// NewCluster prepares a cluster and starts nothing. The flags are given to
// every node behind --id and --cluster.
func NewCluster(tb testing.TB, bin Binaries, nodes int, flags ...string) *Cluster {
	tb.Helper()
	c := &Cluster{tb: tb, bin: bin, flags: flags, Dir: tb.TempDir()}
	first := FreePorts(tb, nodes)
	for i := range nodes {
		port := first + i
		c.Nodes = append(c.Nodes, &Node{Number: i + 1, Port: port, Address: fmt.Sprintf("localhost:%d", port), cluster: c})
	}
	c.founders = strings.Join(c.Endpoints(), ",")
	return c
}

// Joining prepares a node that joins through another one, under a number that
// no node has had.
func (c *Cluster) Joining(number int, through *Node) *Node {
	c.tb.Helper()
	port := FreePorts(c.tb, 1)
	n := &Node{Number: number, Port: port, Address: fmt.Sprintf("localhost:%d", port), cluster: c, through: through.Address}
	c.Nodes = append(c.Nodes, n)
	return n
}

// Gone takes nodes out of the list, after they were removed from the cluster.
func (c *Cluster) Gone(nodes ...*Node) { c.Nodes = c.Others(nodes...) }

// StartCluster starts all nodes of a new cluster and waits until they serve.
func StartCluster(tb testing.TB, bin Binaries, nodes int, flags ...string) *Cluster {
	tb.Helper()
	c := NewCluster(tb, bin, nodes, flags...)
	c.Start()
	c.Ready()
	return c
}

// Start starts the nodes, by default all.
func (c *Cluster) Start(nodes ...*Node) {
	c.tb.Helper()
	if len(nodes) == 0 {
		nodes = c.Nodes
	}
	for _, n := range nodes {
		n.Start()
	}
}

// Ready waits until the nodes, by default all, say that they serve.
func (c *Cluster) Ready(nodes ...*Node) {
	c.tb.Helper()
	if len(nodes) == 0 {
		nodes = c.Nodes
	}
	for _, n := range nodes {
		n.Ready()
	}
}

// Start starts a process of the node, with the same flags every time.
func (n *Node) Start() {
	n.cluster.tb.Helper()
	n.Process = Start(n.cluster.tb, n.Command())
}

// Command is how the node is started.
func (n *Node) Command(more ...string) Command {
	args := []string{"--id", strconv.Itoa(n.Number), "--cluster", n.cluster.founders}
	if n.through != "" {
		args = []string{"--id", strconv.Itoa(n.Number), "--join", n.through, "--address", n.Address}
	}
	if n.LongForm != nil {
		args = slices.Clone(n.LongForm)
	}
	args = append(append(args, n.cluster.flags...), more...)
	return Command{Name: fmt.Sprintf("node %d", n.Number), Path: n.cluster.bin.RaftKV, Args: args, Dir: n.cluster.Dir}
}

// DataDir is the node's data directory.
func (n *Node) DataDir() string {
	return filepath.Join(n.cluster.Dir, fmt.Sprintf("raft-kv-%d", n.Number))
}

// Ready waits until a node says that it serves, and can be read from.
func (n *Node) Ready() {
	n.cluster.tb.Helper()
	n.ExactLine(Patience, "ready to serve client requests")
	Until(n.cluster.tb, Patience, fmt.Sprintf("node %d: /readyz", n.Number), n.readyz)
}

func (n *Node) readyz(ctx context.Context) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+n.Address+"/readyz", nil)
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	if err := resp.Body.Close(); err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("/readyz answers %s", resp.Status)
	}
	return nil
}

// Client is a stock etcd client that knows this node alone.
func (n *Node) Client() *clientv3.Client {
	n.cluster.tb.Helper()
	if n.client == nil {
		n.client = n.cluster.dial(n.Address)
	}
	return n.client
}

// Client is a stock etcd client that knows the given nodes, by default all.
func (c *Cluster) Client(nodes ...*Node) *clientv3.Client {
	c.tb.Helper()
	return c.dial(c.Endpoints(nodes...)...)
}

func (c *Cluster) dial(endpoints ...string) *clientv3.Client {
	c.tb.Helper()
	client, err := clientv3.New(clientv3.Config{Endpoints: endpoints, Logger: zap.NewNop()})
	if err != nil {
		c.tb.Fatal(err)
	}
	c.tb.Cleanup(func() {
		if err := client.Close(); err != nil && !errors.Is(err, context.Canceled) {
			c.tb.Errorf("closing a client: %v", err)
		}
	})
	return client
}

// Endpoints are the addresses of the given nodes, by default of all.
func (c *Cluster) Endpoints(nodes ...*Node) []string {
	if len(nodes) == 0 {
		nodes = c.Nodes
	}
	var endpoints []string
	for _, n := range nodes {
		endpoints = append(endpoints, n.Address)
	}
	return endpoints
}

// Others are all nodes but the given ones.
func (c *Cluster) Others(but ...*Node) []*Node {
	var others []*Node
next:
	for _, n := range c.Nodes {
		for _, b := range but {
			if n == b {
				continue next
			}
		}
		others = append(others, n)
	}
	return others
}

// Status is what the node says of itself, without asking others.
func (n *Node) Status(ctx context.Context) (*kvpb.StatusResponse, error) {
	return kvpb.NewNativeClient(n.Client().ActiveConnection()).Status(ctx, &kvpb.StatusRequest{})
}

// Leader waits until one of the given nodes, by default of all, leads and all
// of them agree on it; it returns the leader and its term.
func (c *Cluster) Leader(nodes ...*Node) (leader *Node, term uint64) {
	c.tb.Helper()
	if len(nodes) == 0 {
		nodes = c.Nodes
	}
	Until(c.tb, Patience, "a leader all agree on", func(ctx context.Context) error {
		leader, term = nil, 0
		var id uint64
		for _, n := range nodes {
			s, err := n.Status(ctx)
			switch {
			case err != nil:
				return fmt.Errorf("node %d: %w", n.Number, err)
			case s.GetLeaderId() == 0, term != 0 && (s.GetTerm() != term || s.GetLeaderId() != id):
				return fmt.Errorf("node %d: leader %x in term %d, others say %x in term %d", n.Number, s.GetLeaderId(), s.GetTerm(), id, term)
			}
			id, term = s.GetLeaderId(), s.GetTerm()
			if s.GetMemberId() == id {
				leader = n
			}
		}
		if leader == nil {
			return errors.New("the leader is another node")
		}
		return nil
	})
	return leader, term
}

// CLI runs raft-cli with the given nodes, by default all, as endpoints.
func (c *Cluster) CLI(nodes []*Node, stdin string, args ...string) Result {
	c.tb.Helper()
	return Run(c.tb, Patience, Command{
		Name: "raft-cli", Path: c.bin.RaftCLI, Args: args, Stdin: strings.NewReader(stdin),
		Env: []string{"RAFTKV_ENDPOINTS=" + strings.Join(c.Endpoints(nodes...), ",")},
	})
}

// Etcdctl runs etcdctl with the given nodes, by default all, as endpoints.
func (c *Cluster) Etcdctl(nodes []*Node, stdin string, args ...string) Result {
	c.tb.Helper()
	return Run(c.tb, Patience, Command{
		Name: "etcdctl", Path: c.bin.Etcdctl, Stdin: strings.NewReader(stdin),
		Args: append([]string{"--endpoints=" + strings.Join(c.Endpoints(nodes...), ",")}, args...),
	})
}
