package main

import (
	"testing"
	"testing/fstest"

	"raftkv/server"
)

func TestMemoryBudget(t *testing.T) {
	const mib = 1 << 20
	for _, c := range []struct {
		members         int
		goLimit, group  int64
		want            int64
		whatTheCaseSays string
	}{
		{1, noLimit, noLimit, server.DefaultMemoryBudgetBytes, "nothing is limited"},
		{1, noLimit, 1 << 40, server.DefaultMemoryBudgetBytes, "a large group"},
		{1, noLimit, 128 * mib, 64 * mib, "a small group"},
		{1, 100 * mib, 64 * mib, 75 * mib, "GOMEMLIMIT counts before the group"},
		{3, 400 * mib, noLimit, 100 * mib, "members share"},
		{3, noLimit, 600 * mib, 100 * mib, "members share a group"},
		{1, mib, noLimit, server.MemoryBudgetBytesMin, "never below the smallest"},
	} {
		if got := memoryBudget(c.members, c.goLimit, c.group); got != c.want {
			t.Errorf("%s: %d, want %d", c.whatTheCaseSays, got, c.want)
		}
	}
}

func TestGroupMemoryLimit(t *testing.T) {
	file := func(text string) *fstest.MapFile { return &fstest.MapFile{Data: []byte(text)} }
	for name, c := range map[string]struct {
		root fstest.MapFS
		want int64
	}{
		"none":             {fstest.MapFS{}, noLimit},
		"unlimited":        {fstest.MapFS{"sys/fs/cgroup/memory.max": file("max\n")}, noLimit},
		"a container, v2":  {fstest.MapFS{"sys/fs/cgroup/memory.max": file("1000\n")}, 1000},
		"a container, v1":  {fstest.MapFS{"sys/fs/cgroup/memory/memory.limit_in_bytes": file("2000\n")}, 2000},
		"a service, v2":    {fstest.MapFS{"proc/self/cgroup": file("0::/a/b\n"), "sys/fs/cgroup/a/b/memory.max": file("3000")}, 3000},
		"smallest of many": {fstest.MapFS{"proc/self/cgroup": file("4:memory:/x\n0::/\n"), "sys/fs/cgroup/memory/x/memory.limit_in_bytes": file("500\n"), "sys/fs/cgroup/memory.max": file("600\n")}, 500},
	} {
		if got := groupMemoryLimit(c.root); got != c.want {
			t.Errorf("%s: %d, want %d", name, got, c.want)
		}
	}
}
