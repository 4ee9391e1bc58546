package server

import (
	"bytes"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/cockroachkvs"
	"github.com/cockroachdb/pebble/v2/sstable"
	"github.com/cockroachdb/pebble/v2/vfs"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"raftkv/server/corruption"
	"raftkv/statemachine"
)

// plant gives the stopped member another value than it was given, behind the back
// of everything that counts what is written.
func plant(t *testing.T, cfg Config, was, is string) {
	t.Helper()
	dir, err := statemachine.LiveDatabase(vfs.Default, filepath.Join(cfg.DataDir, "member", "state"))
	if err != nil {
		t.Fatal(err)
	}
	db, err := pebble.Open(dir, &pebble.Options{
		Comparer: &cockroachkvs.Comparer, KeySchema: cockroachkvs.KeySchema.Name, KeySchemas: sstable.MakeKeySchemas(&cockroachkvs.KeySchema),
		BlockPropertyCollectors: cockroachkvs.BlockPropertyCollectors, FormatMajorVersion: pebble.FormatNewest, DisableWAL: true, Logger: quietPebble{},
	})
	if err != nil {
		t.Fatal(err)
	}
	it, err := db.NewIter(nil)
	if err != nil {
		t.Fatal(err)
	}
	planted := false
	for ok := it.First(); ok && !planted; ok = it.Next() {
		value, err := it.ValueAndErr()
		if err != nil {
			t.Fatal(err)
		}
		if bytes.HasSuffix(value, []byte(was)) {
			planted = true
			err = db.Set(slices.Clone(it.Key()), append(slices.Clone(bytes.TrimSuffix(value, []byte(was))), is...), pebble.NoSync)
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := errors.Join(it.Close(), db.Flush(), db.Close()); err != nil {
		t.Fatal(err)
	}
	if !planted {
		t.Fatalf("%s holds no value that ends in %q", dir, was)
	}
}

// plantedCluster is a cluster of three in which the third member holds something
// else than the others, stopped.
func plantedCluster(t *testing.T, change func(*Config)) (c *cluster, keys *clientv3.Client) {
	t.Helper()
	c = newCluster(t, 3, false)
	for i := range c.configs {
		change(&c.configs[i])
	}
	c.startAll()
	keys = c.client(0)
	for _, k := range []string{"a", "b", "c"} {
		if _, err := keys.Put(t.Context(), k, "value of "+k); err != nil {
			t.Fatal(err)
		}
	}
	c.until("the third member has it", func() bool { return c.servers[2].rooms.machine.Revision() == 4 })
	if err := c.servers[2].Stop(); err != nil {
		t.Fatal(err)
	}
	plant(t, c.configs[2], "value of b", "another b")
	return c, keys
}

func (c *cluster) corrupt(i int) []uint64 {
	var all []uint64
	for _, a := range c.servers[i].rooms.machine.Alarms(pb.AlarmType_CORRUPT) {
		all = append(all, a.GetMemberID())
	}
	return all
}

// awaitCorrupt waits for the alarm of the third member, and no other, and that no
// writes are taken then.
func (c *cluster) awaitCorrupt(keys *clientv3.Client) {
	c.t.Helper()
	c.until("the CORRUPT alarm", func() bool { return len(c.corrupt(0)) > 0 })
	if got, want := c.corrupt(0), []uint64{c.servers[2].memberID}; !slices.Equal(got, want) {
		c.t.Errorf("the alarm is for %x, want %x", got, want)
	}
	if _, err := keys.Put(c.t.Context(), "a", "more"); err == nil {
		c.t.Error("a corrupt cluster takes writes")
	}
}

func TestPeriodicCheckFindsAPlantedDifference(t *testing.T) {
	c, keys := plantedCluster(t, func(cfg *Config) { cfg.CorruptCheckInterval = 100 * time.Millisecond })
	if alarms := c.corrupt(0); len(alarms) > 0 {
		t.Fatalf("alarms for %x before", alarms)
	}
	c.start(2)
	c.waitReady(c.servers[2])
	c.awaitCorrupt(keys)
}

func TestCompactionCheckFindsAPlantedDifference(t *testing.T) {
	core, logs := observer.New(zap.InfoLevel)
	c, keys := plantedCluster(t, func(cfg *Config) {
		cfg.CompactHashCheckInterval, cfg.Logger = 100*time.Millisecond, zap.New(core)
	})
	c.start(2)
	c.waitReady(c.servers[2])
	c.until("a compaction hash check", func() bool { return logs.FilterMessage("finished compaction hash check").Len() > 0 })
	if alarms := c.corrupt(0); len(alarms) > 0 {
		t.Fatalf("alarms for %x, and nothing was compacted", alarms)
	}
	if _, err := keys.Compact(t.Context(), 4, clientv3.WithCompactPhysical()); err != nil {
		t.Fatal(err)
	}
	c.awaitCorrupt(keys)
}

// TestInitialCheckRefusesAPlantedDifference: the member does not take part, the
// others go on; without the check it does.
func TestInitialCheckRefusesAPlantedDifference(t *testing.T) {
	c, keys := plantedCluster(t, func(cfg *Config) { cfg.InitialCorruptCheck = true })
	c.start(2)
	s := c.servers[2]
	c.servers[2] = nil
	select {
	case <-s.Done():
	case <-time.After(30 * time.Second):
		t.Error("the member goes on")
	}
	if err := s.Stop(); !errors.Is(err, corruption.ErrDiffers) {
		t.Errorf("it ended with %v", err)
	}
	if _, err := keys.Put(t.Context(), "a", "more"); err != nil {
		t.Errorf("the others: %v", err)
	}
	// Who is sound passes.
	if err := c.servers[1].Stop(); err != nil {
		t.Fatal(err)
	}
	c.configs[2].InitialCorruptCheck = false
	c.start(2)
	c.waitReady(c.servers[2])
	c.start(1)
	select {
	case <-c.servers[1].Ready():
		t.Error("a member that differs from another one took part")
	case <-c.servers[1].Done():
	case <-time.After(30 * time.Second):
		t.Error("neither refused nor ready")
	}
	if err := c.servers[1].Stop(); !errors.Is(err, corruption.ErrDiffers) {
		t.Errorf("it ended with %v", err)
	}
	c.servers[1] = nil
}

type quietPebble struct{}

func (quietPebble) Infof(string, ...any)         {}
func (quietPebble) Errorf(string, ...any)        {}
func (quietPebble) Fatalf(f string, args ...any) { panic(fmt.Sprintf(f, args...)) }
