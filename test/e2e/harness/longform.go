package harness

import (
	"fmt"
	"strings"
)

// Peering says where nodes meet their peers.
type Peering struct {
	// Listen is the port on which the node listens for its peers.
	Listen int
	// URL is where its peers are told to reach it: a relay or a faulty network
	// may stand in between.
	URL string
}

// PeerPort is a port on which a node may listen for its peers.
func (c *Cluster) PeerPort() int { c.tb.Helper(); return FreePorts(c.tb, 1) }

// UseLongForm has the founders started by etcd's flags, with ports of their own
// for peers. more is given to every node.
func (c *Cluster) UseLongForm(peerings []Peering, more ...string) {
	var initial []string
	for i, p := range peerings {
		initial = append(initial, fmt.Sprintf("%d=%s", i+1, p.URL))
	}
	for i, n := range c.Nodes {
		n.longForm(peerings[i], initial, more)
	}
}

// Added prepares a node that starts after it was added to a live cluster.
// initial are the members then, itself included, as name=url.
func (c *Cluster) Added(number int, p Peering, initial []string, more ...string) *Node {
	c.tb.Helper()
	port := FreePorts(c.tb, 1)
	n := &Node{Number: number, Port: port, Address: fmt.Sprintf("localhost:%d", port), cluster: c}
	n.longForm(p, initial, append([]string{"--initial-cluster-state=existing"}, more...))
	c.Nodes = append(c.Nodes, n)
	return n
}

func (n *Node) longForm(p Peering, initial, more []string) {
	n.LongForm = append([]string{
		fmt.Sprintf("--name=%d", n.Number), fmt.Sprintf("--data-dir=raft-kv-%d", n.Number),
		"--listen-client-urls=http://" + n.Address, "--advertise-client-urls=http://" + n.Address,
		fmt.Sprintf("--listen-peer-urls=http://localhost:%d", p.Listen), "--initial-advertise-peer-urls=" + p.URL,
		"--initial-cluster=" + strings.Join(initial, ","), "--log-format=console",
	}, more...)
}
