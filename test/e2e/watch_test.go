package e2e

import (
	"context"
	"encoding/binary"
	"flag"
	"fmt"
	"hash"
	"hash/fnv"
	"regexp"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"raftkv/client"
	"raftkv/test/e2e/harness"
)

var (
	watchers   = flag.Int("watchers", 50, "watchers on one prefix, and as many on single keys, of TestWatchUnderLoad")
	watchKills = flag.Int("watch-kills", 1, "how often TestWatchUnderLoad kills the leader")
	watchLoad  = flag.Duration("watch-load", 3*time.Second, "how long TestWatchUnderLoad writes between kills")
)

const (
	watchPrefix            = "watched/"
	watchersByClient       = 50
	watchWriters           = 8
	ownWatchers            = 3
	watchValueBytes        = 256
	watchCatchUpAtTheEnd   = 4 * time.Minute
	watchEventsByKindLeast = 100
)

// account is what a watcher was told: enough to compare, however much it was.
type account struct {
	name string
	mu   sync.Mutex
	hash hash.Hash64
	last int64
	// events of the newest revision must come together.
	n, messages int
	err         error
}

func newAccount(name string) *account { return &account{name: name, hash: fnv.New64a()} }

// take adds events up to a revision; 0: all of them.
func (a *account) take(events []*clientv3.Event, until int64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(events) > 0 && a.err == nil && events[0].Kv.ModRevision <= a.last {
		a.err = fmt.Errorf("%s: an event of revision %d behind one of %d", a.name, events[0].Kv.ModRevision, a.last)
	}
	a.messages++
	for _, e := range events {
		revision := e.Kv.ModRevision
		if until != 0 && revision > until {
			return
		}
		if revision < a.last && a.err == nil {
			a.err = fmt.Errorf("%s: revision %d follows %d", a.name, revision, a.last)
		}
		a.last = revision
		a.n++
		var number [9]byte
		binary.BigEndian.PutUint64(number[:], uint64(revision))
		number[8] = byte(e.Type)
		a.hash.Write(number[:])
		a.hash.Write(e.Kv.Key)
		a.hash.Write([]byte{0})
		a.hash.Write(e.Kv.Value)
	}
}

func (a *account) state() (last int64, n int, sum uint64, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.last, a.n, a.hash.Sum64(), a.err
}

// TestWatchUnderLoad: watchers on one prefix and on single keys, under write load,
// while leaders are killed: no event is lost, doubled or out of order. Beside
// them one stream that is never read: it stops nobody, and costs little.
func TestWatchUnderLoad(t *testing.T) {
	c := harness.StartCluster(t, bin, 3)
	// Without a demand for a leader, on the loss of which a stock client ends its
	// watches; our own demands one and goes on.
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var running sync.WaitGroup
	defer running.Wait()
	defer cancel()

	prefixes, singles := startWatchers(t, ctx, c, &running)
	stall(t, ctx, c)
	load := &watchWrites{keys: *watchers}
	writing, stopWriting := context.WithCancel(t.Context())
	var writers sync.WaitGroup
	for n := range watchWriters {
		stock := c.Client()
		writers.Go(func() { load.run(writing, stock, n) })
	}
	pause := func() { <-time.After(*watchLoad) } // for how long there is load
	pause()
	for range *watchKills {
		leader, term := c.Leader()
		leader.Kill()
		t.Logf("killed node %d, leader of term %d, after %d writes", leader.Number, term, load.acked.Load())
		pause()
		leader.Start()
		leader.Ready()
		pause()
	}
	stopWriting()
	writers.Wait()
	end := load.finish(t, c.Client())
	truths := readTruth(t, c, end)
	waitForWatchers(t, end, append(prefixes, singles...))
	compareWatchers(t, truths, prefixes, singles)
	checkWatchMetrics(t, c)
	t.Logf("%d acknowledged writes, %d of unknown outcome, %d revisions", load.acked.Load(), load.unknown.Load(), end[""])
}

func watchedKey(n int) string { return fmt.Sprintf("%s%04d", watchPrefix, n) }

// startWatchers returns once every watch was created.
func startWatchers(t *testing.T, ctx context.Context, c *harness.Cluster, running *sync.WaitGroup) (prefixes, singles []*account) {
	t.Helper()
	var stock *clientv3.Client
	var created sync.WaitGroup
	watch := func(n int, name, key string, opts ...clientv3.OpOption) *account {
		if n%watchersByClient == 0 {
			stock = c.Client()
		}
		return follow(ctx, stock, name, key, &created, running, opts...)
	}
	for n := range *watchers {
		prefixes = append(prefixes, watch(n, fmt.Sprintf("prefix watcher %d", n), watchPrefix, clientv3.WithPrefix()))
	}
	for n := range ownWatchers {
		prefixes = append(prefixes, startOwnWatcher(t, ctx, c, n, running))
	}
	for n := range *watchers {
		singles = append(singles, watch(n, fmt.Sprintf("watcher of %s", watchedKey(n)), watchedKey(n)))
	}
	created.Wait()
	return prefixes, singles
}

// follow watches from the first revision on. created is done when the watch is.
func follow(ctx context.Context, stock *clientv3.Client, name, key string, created, running *sync.WaitGroup, opts ...clientv3.OpOption) *account {
	a := newAccount(name)
	created.Add(1)
	events := stock.Watch(ctx, key, append(opts, clientv3.WithRev(1), clientv3.WithCreatedNotify())...)
	running.Go(func() {
		first := sync.OnceFunc(created.Done)
		defer first()
		for resp := range events {
			first()
			if err := resp.Err(); err != nil && ctx.Err() == nil {
				a.mu.Lock()
				a.err = fmt.Errorf("%s ended: %w", name, err)
				a.mu.Unlock()
			}
			if len(resp.Events) > 0 {
				a.take(resp.Events, 0)
			}
		}
	})
	return a
}

// startOwnWatcher watches the prefix with our own client.
func startOwnWatcher(t *testing.T, ctx context.Context, c *harness.Cluster, n int, running *sync.WaitGroup) *account {
	t.Helper()
	own, err := client.New(client.Config{Endpoints: c.Endpoints(append(c.Nodes[n%3:], c.Nodes[:n%3]...)...)})
	if err != nil {
		t.Fatal(err)
	}
	a := newAccount(fmt.Sprintf("prefix watcher %d of our own client", n))
	running.Go(func() {
		err := own.Watch(ctx, client.WatchRequest{
			Key: []byte(watchPrefix), RangeEnd: []byte(clientv3.GetPrefixRangeEnd(watchPrefix)), Revision: 1, Progress: true,
		}, func(u client.Update) error {
			var events []*clientv3.Event
			for _, e := range u.Events {
				events = append(events, (*clientv3.Event)(e))
			}
			a.take(events, 0)
			return nil
		})
		if ctx.Err() == nil {
			a.mu.Lock()
			a.err = fmt.Errorf("%s ended: %w", a.name, err)
			a.mu.Unlock()
		}
		if err := own.Close(); err != nil {
			t.Error(err)
		}
	})
	return a
}

// stall opens a watch on every node and never reads it.
func stall(t *testing.T, ctx context.Context, c *harness.Cluster) {
	t.Helper()
	for _, n := range c.Nodes {
		stream, err := pb.NewWatchClient(n.Client().ActiveConnection()).Watch(ctx)
		if err == nil {
			err = stream.Send(&pb.WatchRequest{RequestUnion: &pb.WatchRequest_CreateRequest{CreateRequest: &pb.WatchCreateRequest{
				Key: []byte(watchPrefix), RangeEnd: []byte(clientv3.GetPrefixRangeEnd(watchPrefix)), PrevKv: true}}})
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// watchWrites writes the keys that are watched.
type watchWrites struct {
	keys           int
	acked, unknown atomic.Int64
}

func (w *watchWrites) run(ctx context.Context, client *clientv3.Client, writer int) {
	value := make([]byte, watchValueBytes)
	for n := 0; ctx.Err() == nil; n++ {
		key := watchedKey((n*watchWriters + writer) % w.keys)
		copy(value, fmt.Sprintf("%d/%d ", writer, n))
		var err error
		switch n % 16 {
		case 7: // two keys in one revision
			other := watchedKey((n*watchWriters + writer + 1) % (w.keys + 1))
			_, err = client.Txn(ctx).Then(clientv3.OpPut(key, string(value)), clientv3.OpPut(other, string(value))).Commit()
		case 11:
			_, err = client.Delete(ctx, key)
		default:
			_, err = client.Put(ctx, key, string(value))
		}
		if err == nil {
			w.acked.Add(1)
		} else {
			w.unknown.Add(1)
		}
	}
}

// finish writes every key once more and returns the revision of that for each,
// and for "" the last of all.
func (w *watchWrites) finish(t *testing.T, client *clientv3.Client) map[string]int64 {
	t.Helper()
	end := make(map[string]int64)
	for n := range w.keys {
		harness.Until(t, harness.Patience, "a last write", func(ctx context.Context) error {
			resp, err := client.Put(ctx, watchedKey(n), "end")
			if err == nil {
				end[watchedKey(n)] = resp.Header.Revision
				end[""] = resp.Header.Revision
			}
			return err
		})
	}
	return end
}

// readTruth reads the whole history once more, from a node that did nothing but
// keep it, and accounts it for each kind of watcher.
func readTruth(t *testing.T, c *harness.Cluster, end map[string]int64) map[string]*account {
	t.Helper()
	truths := map[string]*account{"": newAccount("the history")}
	for key := range end {
		if key != "" {
			truths[key] = newAccount("the history of " + key)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), watchCatchUpAtTheEnd)
	defer cancel()
	revisions := int64(1)
	for resp := range c.Client().Watch(ctx, watchPrefix, clientv3.WithPrefix(), clientv3.WithRev(1)) {
		if err := resp.Err(); err != nil {
			t.Fatal(err)
		}
		truths[""].take(resp.Events, end[""])
		for _, e := range resp.Events {
			if r := e.Kv.ModRevision; r != revisions {
				if r != revisions+1 {
					t.Fatalf("the history has revision %d behind %d", r, revisions)
				}
				revisions = r
			}
			if a := truths[string(e.Kv.Key)]; a != nil {
				a.take([]*clientv3.Event{e}, end[string(e.Kv.Key)])
			}
		}
		if truths[""].last >= end[""] {
			return truths
		}
	}
	t.Fatal("the history did not come to its end")
	return nil
}

func waitForWatchers(t *testing.T, end map[string]int64, accounts []*account) {
	t.Helper()
	harness.Until(t, watchCatchUpAtTheEnd, "every watcher has come to the end", func(context.Context) error {
		for _, a := range accounts {
			want := end[""]
			if key := regexp.MustCompile(watchPrefix + `\d+$`).FindString(a.name); key != "" {
				want = end[key]
			}
			if last, n, _, err := a.state(); err != nil {
				t.Fatal(err)
			} else if last < want {
				return fmt.Errorf("%s is at revision %d of %d, %d events", a.name, last, want, n)
			}
		}
		return nil
	})
}

func compareWatchers(t *testing.T, truths map[string]*account, prefixes, singles []*account) {
	t.Helper()
	check := func(a, truth *account) {
		_, n, sum, _ := a.state()
		if _, want, wantSum, _ := truth.state(); n != want || sum != wantSum {
			t.Errorf("%s was told %d events (hash %x), there are %d (%x)", a.name, n, sum, want, wantSum)
		}
		if n < watchEventsByKindLeast && truth == truths[""] {
			t.Errorf("%s: only %d events", a.name, n)
		}
	}
	for _, a := range prefixes {
		check(a, truths[""])
	}
	for n, a := range singles {
		check(a, truths[watchedKey(n)])
	}
	t.Logf("%d prefix watchers had %d events each", len(prefixes), truths[""].n)
}

// checkWatchMetrics: nobody waited for the streams that are not read.
func checkWatchMetrics(t *testing.T, c *harness.Cluster) {
	t.Helper()
	for _, n := range c.Nodes {
		body := call(t, n, "GET", "/metrics", "").body
		value := func(name string) float64 {
			found := regexp.MustCompile(`(?m)^` + name + ` (\S+)$`).FindStringSubmatch(body)
			if found == nil {
				t.Fatalf("node %d has no %s", n.Number, name)
			}
			v, err := strconv.ParseFloat(found[1], 64)
			if err != nil {
				t.Fatal(err)
			}
			return v
		}
		blocked, buffered := value("raftkv_watch_apply_blocked_total"), value("raftkv_watch_buffered_bytes")
		if blocked != 0 || buffered > 14<<20+512<<10 {
			t.Errorf("node %d: apply blocked %v times, %v bytes wait", n.Number, blocked, buffered)
		}
		t.Logf("node %d: %v streams, %v watchers, %v behind, %v events sent, %v spills, %v batches skipped, %v revisions caught up, %v bytes wait, %.0f MiB resident", n.Number,
			value("etcd_debugging_mvcc_watch_stream_total"), value("etcd_debugging_mvcc_watcher_total"), value("etcd_debugging_mvcc_slow_watcher_total"),
			value("etcd_debugging_mvcc_events_total"), value("raftkv_watch_spills_total"), value("raftkv_watch_skipped_batches_total"),
			value("raftkv_watch_caught_up_revisions_total"), buffered, value("process_resident_memory_bytes")/(1<<20))
	}
}
