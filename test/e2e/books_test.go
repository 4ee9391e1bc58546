package e2e

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"path"
	"slices"
	"strings"
	"testing"

	"raftkv/test/e2e/harness"
)

const (
	burstPuts    = 75
	burstTxns    = 5
	burstTxnPuts = 10
)

// ack is an acknowledged write, as the loader prints it.
type ack struct {
	Key         string `json:"key"`
	Revision    int64  `json:"revision"`
	ValueBytes  int    `json:"value_bytes"`
	ValueSHA256 string `json:"value_sha256"`
	// Attempts above 1 mean that earlier ones had an unknown outcome.
	Attempts int `json:"attempts"`
}

// books are the acknowledged writes, by key. Each key was acknowledged once.
type books struct {
	acks map[string]ack
	runs int // of etcdctl
}

// enter adds what the loader printed.
func (b *books) enter(t *testing.T, lines []string) {
	t.Helper()
	for _, line := range lines {
		var a ack
		if err := json.Unmarshal([]byte(line), &a); err != nil {
			t.Fatalf("the loader printed %q: %v", line, err)
		}
		b.add(t, a)
	}
}

func (b *books) add(t *testing.T, a ack) {
	t.Helper()
	if old, ok := b.acks[a.Key]; ok {
		t.Errorf("%q was acknowledged twice: %+v and %+v", a.Key, old, a)
	}
	b.acks[a.Key] = a
}

// burst writes with etcdctl: single keys, and transactions of several.
func (b *books) burst(t *testing.T, c *harness.Cluster) {
	t.Helper()
	for range burstPuts {
		b.runs++
		key, value := fmt.Sprintf("etcdctl/put/%04d", b.runs), fmt.Sprintf("value %d", b.runs)
		revision, attempts := persistently(t, c, value, "put", key)
		b.add(t, ack{key, revision, len(value), sum(value), attempts})
	}
	for range burstTxns {
		b.runs++
		var script strings.Builder
		var acks []ack
		for i := range burstTxnPuts {
			key, value := fmt.Sprintf("etcdctl/txn/%04d/%d", b.runs, i), fmt.Sprintf("value-%d-%d", b.runs, i)
			fmt.Fprintf(&script, "put %s %s\n", key, value)
			acks = append(acks, ack{Key: key, ValueBytes: len(value), ValueSHA256: sum(value)})
		}
		revision, attempts := persistently(t, c, "\n"+script.String()+"\n\n", "txn")
		for _, a := range acks {
			a.Revision, a.Attempts = revision, attempts
			b.add(t, a)
		}
	}
}

// persistently runs etcdctl until the write is acknowledged, as a script would.
func persistently(t *testing.T, c *harness.Cluster, stdin string, args ...string) (revision int64, attempts int) {
	t.Helper()
	harness.Until(t, harness.Patience, "etcdctl to be acknowledged", func(context.Context) error {
		attempts++
		r := c.Etcdctl(nil, stdin, append(args, "-w", "json")...)
		var resp struct{ Header struct{ Revision int64 } }
		if r.Code != 0 {
			return fmt.Errorf("etcdctl: %v", r)
		}
		if err := json.Unmarshal([]byte(r.Stdout), &resp); err != nil || resp.Header.Revision == 0 {
			t.Fatalf("etcdctl printed %v (%v)", r, err)
		}
		revision = resp.Header.Revision
		return nil
	})
	return revision, attempts
}

// audit compares what was acknowledged with what the nodes hold, and returns
// every fault. byRevision says which keys were put at each revision.
func (b *books) audit(s state, byRevision map[int64][]string) (faults []error) {
	fault := func(format string, args ...any) { faults = append(faults, fmt.Errorf(format, args...)) }
	for key, a := range b.acks {
		r, ok := s.records[key]
		switch {
		case !ok:
			fault("%q was acknowledged at revision %d and is lost", key, a.Revision)
		case r.valueBytes != a.ValueBytes || hex.EncodeToString(r.valueSHA256[:]) != a.ValueSHA256:
			fault("%q holds %d bytes, others than the %d acknowledged", key, r.valueBytes, a.ValueBytes)
		case !slices.Contains(byRevision[a.Revision], key):
			fault("%q was acknowledged at revision %d, where %q was put", key, a.Revision, byRevision[a.Revision])
		case r.version > int64(a.Attempts):
			fault("%q was written %d times and has version %d", key, a.Attempts, r.version)
		}
	}
	for key := range s.records {
		if _, ok := b.acks[key]; !ok {
			fault("%q is there and nobody wrote it", key)
		}
	}
	for revision, keys := range byRevision {
		if len(keys) > 1 && !oneTxn(keys) {
			fault("revision %d was given to %q", revision, keys)
		}
	}
	return faults
}

// oneTxn tells whether the keys are those of one transaction.
func oneTxn(keys []string) bool {
	txn := path.Dir(keys[0])
	for _, key := range keys {
		if path.Dir(key) != txn || !strings.HasPrefix(key, "etcdctl/txn/") {
			return false
		}
	}
	return len(keys) == burstTxnPuts
}

func sum(value string) string {
	hash := sha256.Sum256([]byte(value))
	return hex.EncodeToString(hash[:])
}

func (b *books) bytes() (n int) {
	for _, a := range b.acks {
		n += a.ValueBytes
	}
	return n
}

// repeated counts the writes of which an earlier attempt had no clear outcome.
func (b *books) repeated() (n int) {
	for _, a := range b.acks {
		if a.Attempts > 1 {
			n++
		}
	}
	return n
}
