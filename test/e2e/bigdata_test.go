package e2e

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"golang.org/x/sync/errgroup"

	"raftkv/test/e2e/harness"
)

var (
	bigDataMiB       = flag.Int("bigdata-mib", 96, "size of TestBigData's data")
	bigDataMemoryMiB = flag.Int("bigdata-memory-mib", 64, "memory that the node of TestBigData may use")
)

const (
	bigValueBytes = 4 << 10
	bigTxnKeys    = 16
	bigWorkers    = 16
	bigPageKeys   = 200
	bigClients    = 4
	bigSections   = 16
	bigReads      = 4000
	// bigRequestTime is more than a loaded machine needs for a request; a node
	// that was killed for its memory never answers.
	bigRequestTime = 2 * time.Minute
)

// TestBigData loads more data than the node may have memory (make bigdata: four
// times as much), reads all of it back, kills the node and reads all of it again. The limit is a
// control group's, which ends a process that exceeds it; where none can be made,
// $GOMEMLIMIT takes its place and the peak of the resident memory is compared.
func TestBigData(t *testing.T) {
	keys := *bigDataMiB << 20 / bigValueBytes
	if testing.Short() {
		keys /= 4
	}
	limit := int64(*bigDataMemoryMiB) << 20
	c := harness.NewCluster(t, bin, 1, "--quota-backend-bytes", "-1")
	n := c.Nodes[0]
	command, enforced := limited(t, n.Command(), limit)
	checkMemory := func() {
		t.Helper()
		// What a group enforces need not be checked, and cannot: the pages of the
		// binary are resident too, and may count for another group.
		if peak := peakResident(t, n); !enforced && (peak == 0 || peak > limit) {
			t.Errorf("the node has had %d bytes, %d are its limit", peak, limit)
		}
	}

	start := func() {
		began := time.Now()
		n.Process = harness.Start(t, command)
		n.Ready()
		t.Logf("serves after %v", time.Since(began).Round(time.Millisecond))
	}
	start()
	timed(t, fmt.Sprintf("loading %d values of %d bytes", keys, bigValueBytes), func() { loadBig(t, c.Client(), keys) })
	timed(t, "reading them all", func() { listBig(t, c, keys) })
	checkMemory()
	n.Kill()
	start()
	checkMemory()
	timed(t, fmt.Sprintf("reading %d of them at random", bigReads), func() { readBig(t, c, keys) })
	timed(t, "reading them all after kill -9", func() { listBig(t, c, keys) })
	checkMemory()
}

func timed(t *testing.T, what string, do func()) {
	t.Helper()
	began := time.Now()
	do()
	t.Logf("%s took %v", what, time.Since(began).Round(time.Millisecond))
}

// limited makes the command run in a control group of its own, or, where that
// cannot be had, under $GOMEMLIMIT.
func limited(t *testing.T, c harness.Command, limitBytes int64) (_ harness.Command, enforced bool) {
	t.Helper()
	for _, kind := range []struct{ top, file string }{
		{"/sys/fs/cgroup/memory", "memory.limit_in_bytes"},
		{"/sys/fs/cgroup", "memory.max"},
	} {
		group, err := os.MkdirTemp(kind.top, "raft-kv-bigdata-")
		if err != nil {
			continue
		}
		// The node is killed before this runs, and a group may take a moment to
		// notice.
		t.Cleanup(func() {
			harness.Until(t, harness.Patience, "the control group to end", func(context.Context) error { return os.Remove(group) })
		})
		if os.WriteFile(filepath.Join(group, kind.file), []byte(strconv.FormatInt(limitBytes, 10)), 0o600) != nil {
			continue
		}
		t.Logf("memory is limited to %d MiB by the control group %s", limitBytes>>20, group)
		// The shell puts itself into the group and becomes the node.
		c.Args = append([]string{"-c", `echo $$ > "$0" && exec "$@"`, filepath.Join(group, "cgroup.procs"), c.Path}, c.Args...)
		c.Path = "/bin/sh"
		return c, true
	}
	t.Logf("NO CONTROL GROUP CAN BE MADE HERE: GOMEMLIMIT takes its place")
	c.Env = append(c.Env, fmt.Sprintf("GOMEMLIMIT=%d", limitBytes*3/4))
	return c, false
}

// peakResident is the most memory that the node has had; 0 if unknown.
func peakResident(t *testing.T, n *harness.Node) (peak int64) {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", n.PID()))
	if err != nil {
		t.Logf("NO /proc HERE, so nothing is known of the node's memory: %v", err)
		return 0
	}
	now := int64(0)
	for line := range strings.Lines(string(status)) {
		name, rest, _ := strings.Cut(line, ":")
		kib, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 10, 64)
		if err != nil {
			continue
		}
		switch name {
		case "VmHWM":
			peak = kib << 10
		case "VmRSS":
			now = kib << 10
		}
	}
	t.Logf("resident: %d MiB, at most %d MiB", now>>20, peak>>20)
	return peak
}

func bigKey(i int) string { return fmt.Sprintf("big/%08d", i) }

// bigValue cannot be compressed, and differs for every key.
func bigValue(i int) []byte {
	value := make([]byte, bigValueBytes)
	// ChaCha8.Read never fails.
	_, _ = rand.NewChaCha8([32]byte{byte(i), byte(i >> 8), byte(i >> 16), byte(i >> 24)}).Read(value)
	return value
}

func loadBig(t *testing.T, client *clientv3.Client, keys int) {
	t.Helper()
	group, ctx := errgroup.WithContext(t.Context())
	group.SetLimit(bigWorkers)
	for from := 0; from < keys; from += bigTxnKeys {
		group.Go(func() error {
			var puts []clientv3.Op
			for i := from; i < min(from+bigTxnKeys, keys); i++ {
				puts = append(puts, clientv3.OpPut(bigKey(i), string(bigValue(i))))
			}
			ctx, cancel := context.WithTimeout(ctx, bigRequestTime)
			defer cancel()
			_, err := client.Txn(ctx).Then(puts...).Commit()
			return err
		})
	}
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
}

// listBig reads all keys in pages, by several clients at once: each lists
// sections of the keys, at the revision of its first page. (The first page of a
// listing counts the rest, and so reads it.)
func listBig(t *testing.T, c *harness.Cluster, keys int) {
	t.Helper()
	section := (keys + bigSections - 1) / bigSections
	byClients(t, c, func(ctx context.Context, client *clientv3.Client, number int) error {
		for from := number * section; from < keys; from += bigClients * section {
			if err := listSection(ctx, client, from, min(from+section, keys)); err != nil {
				return err
			}
		}
		return nil
	})
}

func listSection(ctx context.Context, client *clientv3.Client, from, to int) error {
	next, revision := bigKey(from), int64(0)
	for from < to {
		resp, err := getBig(ctx, client, next, clientv3.WithRange(bigKey(to)), clientv3.WithLimit(bigPageKeys), clientv3.WithRev(revision))
		if err != nil {
			return err
		}
		if resp.Count != int64(to-from) || len(resp.Kvs) != min(bigPageKeys, to-from) || resp.More != (to-from > bigPageKeys) {
			return fmt.Errorf("%d to %d: %d keys, more %v, count %d", from, to, len(resp.Kvs), resp.More, resp.Count)
		}
		for _, kv := range resp.Kvs {
			if string(kv.Key) != bigKey(from) || !bytes.Equal(kv.Value, bigValue(from)) {
				return fmt.Errorf("key %d is %q, or has a wrong value", from, kv.Key)
			}
			from++
		}
		next, revision = bigKey(from), resp.Header.Revision
	}
	return nil
}

// readBig reads keys at random, by several clients at once.
func readBig(t *testing.T, c *harness.Cluster, keys int) {
	t.Helper()
	byClients(t, c, func(ctx context.Context, client *clientv3.Client, number int) error {
		rng := rand.New(rand.NewPCG(1, uint64(number)))
		for range bigReads / bigClients {
			i := rng.IntN(keys)
			resp, err := getBig(ctx, client, bigKey(i))
			if err != nil {
				return err
			}
			if len(resp.Kvs) != 1 || !bytes.Equal(resp.Kvs[0].Value, bigValue(i)) {
				return fmt.Errorf("key %d: %d keys, or a wrong value", i, len(resp.Kvs))
			}
		}
		return nil
	})
}

// byClients runs do for several clients at once, each with its own connection.
func byClients(t *testing.T, c *harness.Cluster, do func(ctx context.Context, client *clientv3.Client, number int) error) {
	t.Helper()
	group, ctx := errgroup.WithContext(t.Context())
	for number := range bigClients {
		client := c.Client()
		group.Go(func() error { return do(ctx, client, number) })
	}
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
}

func getBig(ctx context.Context, client *clientv3.Client, key string, opts ...clientv3.OpOption) (*clientv3.GetResponse, error) {
	ctx, cancel := context.WithTimeout(ctx, bigRequestTime)
	defer cancel()
	return client.Get(ctx, key, opts...)
}
