package server

import (
	"testing"

	"raftkv/statemachine"
)

// TestMemoryPlan: what may grow with use leaves room in every budget, and the
// limit of the heap leaves room for what is kept outside of it.
func TestMemoryPlan(t *testing.T) {
	for _, budget := range []int64{MemoryBudgetBytesMin, DefaultMemoryBudgetBytes, 1 << 30, 64 << 30} {
		p := planMemory(budget)
		sum := p.cacheBytes + statemachine.MemTablesMax*int64(p.memTableBytes) + int64(p.logKeepBytes) + int64(p.logFlushBytes) + 2*int64(p.backlogBytes) + p.headsBytes + p.hotBytes
		if sum < budget/2 || sum > budget*7/8 {
			t.Errorf("budget %d: %+v takes %d", budget, p, sum)
		}
		if p.queueBytes < 4<<20 {
			t.Errorf("budget %d: queues of %d bytes", budget, p.queueBytes)
		}
		cfg := Config{MemoryBudgetBytes: budget}
		outside := int64(0)
		if offHeap {
			outside = p.cacheBytes + statemachine.MemTablesMax*int64(p.memTableBytes)
		}
		if limit := cfg.HeapLimitBytes(); limit+outside != budget || limit < sum-p.cacheBytes-statemachine.MemTablesMax*int64(p.memTableBytes) {
			t.Errorf("budget %d: heap limit %d beside %d", budget, limit, outside)
		}
		cfg.Memory = true
		if cfg.HeapLimitBytes() != 0 {
			t.Error("a member in memory mode has a limit")
		}
	}
}

func TestMemTablesOfMembersDiffer(t *testing.T) {
	const bytes = 14 << 20
	sizes := map[uint64]bool{}
	for incarnation := range uint64(100) {
		size := spreadMemTable(bytes, incarnation)
		if size > bytes || size < bytes/4*3 {
			t.Fatalf("%d of %d bytes", size, bytes)
		}
		sizes[size] = true
	}
	if len(sizes) < 50 {
		t.Errorf("%d sizes for 100 members", len(sizes))
	}
}

// What may wait to be applied is a sixty-fourth of the budget, but room for an
// append at least, and not without end; the node is told so. Its own default would
// be the same for most budgets, and not for the smallest.
func TestNodeIsToldWhatMayWaitToBeApplied(t *testing.T) {
	for budget, want := range map[int64]int{MemoryBudgetBytesMin: 1 << 20, DefaultMemoryBudgetBytes: 3584 << 10, 1 << 30: 16 << 20, 64 << 30: 64 << 20} {
		if got := planMemory(budget).backlogBytes; got != want {
			t.Errorf("budget %d: %d bytes may wait, want %d", budget, got, want)
		}
	}
	c := newCluster(t, 1, false)
	c.configs[0].MemoryBudgetBytes = MemoryBudgetBytesMin
	c.startAll()
	cfg := c.servers[0].nodeConfig()
	if cfg.EnsureDefaults(); cfg.BacklogBytesMax != 1<<20 {
		t.Errorf("the node lets %d bytes wait, want %d", cfg.BacklogBytesMax, 1<<20)
	}
}
