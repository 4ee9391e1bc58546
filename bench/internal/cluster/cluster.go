package cluster

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
)

const (
	loopback = "127.0.0.1"
	// stopGrace is short, because nothing of value is left to flush: the last
	// member of an etcd cluster that is asked to end waits about seven seconds
	// for somebody to hand its leadership to.
	stopGrace = 2 * time.Second
	pollEvery = 50 * time.Millisecond
)

// Config describes a cluster.
type Config struct {
	// Name labels messages; Binary is the program.
	Name, Binary string
	// Dir is an existing directory for data and logs. Its owner removes it.
	Dir   string
	Nodes int
	// Ready says whether the members serve; it is called until it returns nil
	// or ReadyTimeout is over.
	Ready        func(ctx context.Context, endpoints []string) error
	ReadyTimeout time.Duration
	// QuotaBytes is how much data a member may hold; 0: what the program allows.
	QuotaBytes int64
}

// Cluster is a set of running servers.
type Cluster struct {
	name      string
	processes []*process
	endpoints []string
	down      map[int]bool // members that Kill ended
}

// Start starts all members and waits until they serve.
func Start(ctx context.Context, cfg Config) (*Cluster, error) {
	members, err := layout(cfg)
	if err != nil {
		return nil, fmt.Errorf("starting %s: %w", cfg.Name, err)
	}
	c := &Cluster{name: cfg.Name, down: map[int]bool{}}
	for _, m := range members {
		p, err := startProcess(cfg.Name+" "+m.name, cfg.Binary, filepath.Join(cfg.Dir, m.name+".log"), m.flags(members, cfg.QuotaBytes))
		if err != nil {
			return nil, errors.Join(err, c.Stop(ctx))
		}
		c.processes = append(c.processes, p)
		c.endpoints = append(c.endpoints, m.client)
	}
	if err := c.waitReady(ctx, cfg); err != nil {
		return nil, errors.Join(err, c.Stop(ctx))
	}
	return c, nil
}

// Endpoints are the members' client addresses as host:port.
func (c *Cluster) Endpoints() []string { return c.endpoints }

// PIDs are the process ids of the members that run, for reading what they cost.
func (c *Cluster) PIDs() []int {
	var pids []int
	for i, p := range c.processes {
		if !c.down[i] {
			pids = append(pids, p.pid)
		}
	}
	return pids
}

// Alive returns an error if a member has ended that Kill did not end.
func (c *Cluster) Alive() error {
	for i, p := range c.processes {
		if c.down[i] {
			continue
		}
		if err := p.alive(); err != nil {
			return err
		}
	}
	return nil
}

// Stop asks all members to end, waits, and kills those that do not end in time
// or once ctx has ended. No member is left when it returns. An error tells of
// members that had died before, or had to be killed.
func (c *Cluster) Stop(ctx context.Context) error {
	faults := []error{c.Alive()}
	for _, p := range c.processes {
		faults = append(faults, p.terminate())
	}
	for _, p := range c.processes {
		if err := p.stop(ctx, stopGrace); err != nil && !errors.Is(err, errKilled) {
			faults = append(faults, err)
		}
	}
	return errors.Join(faults...)
}

func (c *Cluster) waitReady(ctx context.Context, cfg Config) error {
	ctx, cancel := context.WithTimeout(ctx, cfg.ReadyTimeout)
	defer cancel()
	ticker := time.NewTicker(pollEvery)
	defer ticker.Stop()
	for {
		notReady := cfg.Ready(ctx, c.endpoints)
		if err := c.Alive(); err != nil {
			return err
		}
		if notReady == nil {
			return nil
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return fmt.Errorf("%s does not serve (%w): %w; the end of a log:\n%s",
				c.name, ctx.Err(), notReady, logTail(c.processes[0].logPath))
		}
	}
}

// member is one node's name and addresses.
type member struct {
	name, dataDir, client, peer string
}

func layout(cfg Config) ([]member, error) {
	ports, err := freePorts(2 * cfg.Nodes)
	if err != nil {
		return nil, err
	}
	var members []member
	for i := range cfg.Nodes {
		m := member{
			name:   fmt.Sprintf("node%d", i+1),
			client: fmt.Sprintf("%s:%d", loopback, ports[2*i]),
			peer:   fmt.Sprintf("%s:%d", loopback, ports[2*i+1]),
		}
		m.dataDir = filepath.Join(cfg.Dir, m.name)
		if err := os.Mkdir(m.dataDir, 0o700); err != nil {
			return nil, fmt.Errorf("creating the data directory: %w", err)
		}
		members = append(members, m)
	}
	return members, nil
}

// flags are etcd's long form; everything not named here keeps its default,
// fsync included.
func (m member) flags(all []member, quotaBytes int64) []string {
	var initial []string
	for _, other := range all {
		initial = append(initial, fmt.Sprintf("%s=http://%s", other.name, other.peer))
	}
	flags := []string{
		"--name=" + m.name,
		"--data-dir=" + m.dataDir,
		"--listen-client-urls=http://" + m.client,
		"--advertise-client-urls=http://" + m.client,
		"--listen-peer-urls=http://" + m.peer,
		"--initial-advertise-peer-urls=http://" + m.peer,
		"--initial-cluster=" + strings.Join(initial, ","),
		"--initial-cluster-state=new",
		"--initial-cluster-token=bench",
		"--log-level=warn",
	}
	if quotaBytes > 0 {
		flags = append(flags, fmt.Sprintf("--quota-backend-bytes=%d", quotaBytes))
	}
	return flags
}
