package server

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
)

func requestContext(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// TestQuotaCycle fills a store of three members up to its quota and makes space
// again: on every member writes are refused then, deletions and compactions are
// not, and the alarm ends by itself.
func TestQuotaCycle(t *testing.T) {
	c := newCluster(t, 3, false)
	core, logs := observer.New(zap.InfoLevel)
	for i := range c.configs {
		c.configs[i].QuotaBackendBytes = 64 << 10
		c.configs[i].Logger = zap.New(core)
	}
	c.startAll()
	client, ctx := c.client(1), requestContext(t)
	value, puts := strings.Repeat("v", 4<<10), 0
	var err error
	for ; err == nil && puts < 100; puts++ {
		_, err = client.Put(ctx, "key", value)
	}
	if !errors.Is(err, rpctypes.ErrNoSpace) || puts < 10 || puts > 16 {
		t.Fatalf("put %d: %v", puts, err)
	}
	alarms, err := client.AlarmList(ctx)
	if err != nil || len(alarms.Alarms) != 1 {
		t.Fatalf("alarms %v, %v", alarms, err)
	}
	status, err := client.Status(ctx, client.Endpoints()[0])
	if err != nil || len(status.Errors) != 1 || status.DbSizeQuota != 64<<10 || status.DbSizeInUse < 40<<10 || status.DbSize < status.DbSizeInUse {
		t.Errorf("status %v, %v", status, err)
	}
	if _, err := c.client(2).Put(ctx, "small", "x"); !errors.Is(err, rpctypes.ErrNoSpace) {
		t.Errorf("on another member: %v", err)
	}
	deleted, err := client.Delete(ctx, "key")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := client.Compact(ctx, deleted.Header.Revision, clientv3.WithCompactPhysical()); err != nil {
		t.Fatal(err)
	}
	if logs.FilterMessage("finished scheduled compaction").Len() == 0 {
		t.Error("the compaction was not logged")
	}
	for looks := time.NewTicker(50 * time.Millisecond); ; <-looks.C {
		if alarms, err = client.AlarmList(ctx); err != nil {
			t.Fatal(err)
		}
		if len(alarms.Alarms) == 0 {
			looks.Stop()
			break
		}
	}
	if _, err := client.Put(ctx, "key", value); err != nil {
		t.Error(err)
	}
}

// TestHashKVOfMembers: the members agree before and after a compaction, and
// after a restart goes on with the sweep.
func TestHashKVOfMembers(t *testing.T) {
	c := newCluster(t, 3, false)
	for i := range c.configs {
		c.configs[i].CompactionBatchLimit, c.configs[i].CompactionSleepInterval = 3, time.Millisecond
	}
	c.startAll()
	client, ctx := c.client(0), requestContext(t)
	revision := int64(0)
	for i := range 60 {
		resp, err := client.Put(ctx, []string{"a", "b", "c"}[i%3], strings.Repeat("v", i))
		if err != nil {
			t.Fatal(err)
		}
		revision = resp.Header.Revision
	}
	compareHashes := func(at int64) {
		t.Helper()
		var first *clientv3.HashKVResponse
		for i := range c.configs {
			member := c.client(i)
			if _, err := member.Get(ctx, "a"); err != nil { // it has applied everything
				t.Fatal(err)
			}
			resp, err := member.HashKV(ctx, member.Endpoints()[0], at)
			if err != nil {
				t.Fatal(err)
			}
			if first == nil {
				first = resp
			}
			if resp.Hash != first.Hash || resp.CompactRevision != first.CompactRevision || resp.HashRevision != at {
				t.Errorf("member %d: %v, member 1: %v", i+1, resp, first)
			}
		}
	}
	compareHashes(revision)
	if _, err := client.Compact(ctx, revision-10); err != nil {
		t.Fatal(err)
	}
	compareHashes(revision - 10)
	compareHashes(revision)
	if err := c.servers[2].Stop(); err != nil {
		t.Fatal(err)
	}
	c.start(2)
	c.waitReady(c.servers[2])
	compareHashes(revision)
	for i := range c.configs {
		if err := (backend{c.servers[i]}).AwaitSweep(ctx, revision-10); err != nil {
			t.Error(err)
		}
	}
	compareHashes(revision)
	if _, err := client.Defragment(ctx, client.Endpoints()[0]); err != nil {
		t.Error(err)
	}
}
