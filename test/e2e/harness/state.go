package harness

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"

	"raftkv/rpc/kvstream/kvpb"
)

// Votes waits until a node is a voter, not a learner any more.
func (n *Node) Votes() {
	n.cluster.tb.Helper()
	Until(n.cluster.tb, 2*Patience, fmt.Sprintf("node %d votes", n.Number), func(ctx context.Context) error {
		s, err := n.Status(ctx)
		if err == nil && s.GetRole() == kvpb.StatusResponse_LEARNER {
			err = fmt.Errorf("it is a learner at %d", s.GetAppliedIndex())
		}
		return err
	})
}

// Fill writes so many values that cannot be compressed, some at a time, under a
// prefix and a number.
func (n *Node) Fill(prefix string, values, valueBytes int) {
	tb := n.cluster.tb
	tb.Helper()
	const together = 8
	failed := make(chan error, together)
	client := n.Client()
	for worker := range together {
		go func() {
			rng, value := rand.NewChaCha8([32]byte{byte(worker)}), make([]byte, valueBytes)
			for i := worker; i < values; i += together {
				if _, err := rng.Read(value); err != nil {
					failed <- err
					return
				}
				if _, err := client.Put(tb.Context(), fmt.Sprintf("%s%06d", prefix, i), string(value)); err != nil {
					failed <- fmt.Errorf("value %d: %w", i, err)
					return
				}
			}
			failed <- nil
		}()
	}
	for range together {
		if err := <-failed; err != nil {
			tb.Fatal(err)
		}
	}
}

// ReleasesLog waits until a leader has released every log entry that it has now,
// and more: who stopped before now can then be helped by a snapshot alone, as
// long as it leads. A leader keeps the log for an election timeout for a follower
// that has died. write is called again and again, since the log is released as it
// grows; nil: others write.
func (n *Node) ReleasesLog(write func(ctx context.Context) error) {
	n.cluster.tb.Helper()
	n.cluster.ReleaseLog(write, n)
}

// ReleaseLog is ReleasesLog for several nodes, whoever of them leads later.
func (c *Cluster) ReleaseLog(write func(ctx context.Context) error, nodes ...*Node) {
	c.tb.Helper()
	needed := uint64(0)
	for _, n := range nodes {
		Until(c.tb, Patience, fmt.Sprintf("node %d says how long its log is", n.Number), func(ctx context.Context) error {
			s, err := n.Status(ctx)
			needed = max(needed, s.GetLastIndex()+1)
			return err
		})
	}
	for _, n := range nodes {
		Until(c.tb, 4*Patience, fmt.Sprintf("node %d releases its log", n.Number), func(ctx context.Context) error {
			if write != nil {
				if err := write(ctx); err != nil {
					return err
				}
			}
			s, err := n.Status(ctx)
			if err == nil && s.GetFirstIndex() <= needed {
				err = fmt.Errorf("it starts at %d and needs to be beyond %d", s.GetFirstIndex(), needed)
			}
			return err
		})
	}
}

// Metrics are the node's metrics without labels.
func (n *Node) Metrics(ctx context.Context) (map[string]float64, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+n.Address+"/metrics", nil)
	if err != nil {
		return nil, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	all := map[string]float64{}
	lines := bufio.NewScanner(resp.Body)
	for lines.Scan() {
		name, value, _ := strings.Cut(lines.Text(), " ")
		if v, err := strconv.ParseFloat(value, 64); err == nil {
			all[name] = v
		}
	}
	return all, errors.Join(lines.Err(), resp.Body.Close())
}

// EqualHashes waits until the nodes, by default all, are at one revision, and
// requires that they hold the same there, by HashKV. Nobody may write.
func (c *Cluster) EqualHashes(nodes ...*Node) (revision int64, hash uint32) {
	c.tb.Helper()
	if len(nodes) == 0 {
		nodes = c.Nodes
	}
	Until(c.tb, 2*Patience, "every node at one revision", func(ctx context.Context) error {
		revision = 0
		for _, n := range nodes {
			s, err := n.Status(ctx)
			if err != nil {
				return fmt.Errorf("node %d: %w", n.Number, err)
			}
			if revision != 0 && s.GetRevision() != revision {
				return fmt.Errorf("node %d is at revision %d, another at %d", n.Number, s.GetRevision(), revision)
			}
			revision = s.GetRevision()
		}
		return nil
	})
	for i, n := range nodes {
		resp, err := n.Client().HashKV(c.tb.Context(), n.Address, revision)
		if err != nil {
			c.tb.Fatalf("HashKV of node %d: %v", n.Number, err)
		}
		if i > 0 && resp.Hash != hash {
			c.tb.Errorf("at revision %d node %d has hash %08x, node %d has %08x", revision, nodes[0].Number, hash, n.Number, resp.Hash)
		}
		hash = resp.Hash
	}
	return revision, hash
}
