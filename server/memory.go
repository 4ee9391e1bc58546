package server

import "raftkv/statemachine"

// DefaultMemoryBudgetBytes is what a member aims to stay within, unless told
// otherwise: what etcd takes for some hundred thousand small keys, and here for
// any number of them.
const DefaultMemoryBudgetBytes = 224 << 20

// MemoryBudgetBytesMin is the smallest budget: below it buffers get so small
// that the disk is written in crumbs.
const MemoryBudgetBytesMin = 32 << 20

// memoryPlan divides the budget of one member among everything that may grow
// with use: memory does not depend on how much data there is. What is left over
// is for requests in flight and for the garbage collector.
type memoryPlan struct {
	cacheBytes    int64  // blocks of the state's files: a quarter
	memTableBytes uint64 // one memtable; all of them together: a quarter
	logKeepBytes  uint64 // log entries kept for followers that lag: an eighth
	logFlushBytes int    // log entries until the next flush: an eighth
	backlogBytes  int    // log entries to be applied: a sixty-fourth, an append at least, and twice that before the leader waits
	headsBytes    int64  // what puts remember of keys: a thirty-second
	hotBytes      int64  // keys that are read often: a thirty-second
	// queueBytes bounds each of the queues of proposals, of peers' messages and
	// of what the log is to write. Usually they are all but empty.
	queueBytes int
	// watchBytes bounds the events that wait for watchers, and what of history is
	// read for those that are behind: a sixteenth each. Usually both are empty.
	watchBytes int64
}

func planMemory(budgetBytes int64) memoryPlan {
	const queueMin, queueMax = 8 << 20, 64 << 20
	const backlogMin, backlogMax = 1 << 20, 64 << 20
	return memoryPlan{
		cacheBytes:    budgetBytes / 4,
		memTableBytes: uint64(budgetBytes / 4 / statemachine.MemTablesMax),
		logKeepBytes:  uint64(budgetBytes / 8),
		logFlushBytes: int(budgetBytes / 8),
		backlogBytes:  int(min(backlogMax, max(backlogMin, budgetBytes/64))),
		headsBytes:    budgetBytes / 32,
		hotBytes:      budgetBytes / 32,
		queueBytes:    int(min(queueMax, max(queueMin, budgetBytes/4))),
		watchBytes:    budgetBytes / 16,
	}
}

// spreadMemTable makes a memtable smaller by up to a quarter, depending on the
// member: of members that apply the same entries not all flush and compact at
// the same time then, and a majority answers as fast as ever.
func spreadMemTable(bytes, incarnation uint64) uint64 {
	const steps = 64
	return bytes - bytes/4*(incarnation%steps)/steps
}

// HeapLimitBytes is the limit that a process with this member alone should give
// to Go's garbage collector (debug.SetMemoryLimit), so that all of its memory
// stays within the budget. Pebble keeps blocks and memtables outside of Go's
// heap if the program was built with cgo, and fills with blocks what memtables
// leave. 0: none, since a member in memory mode keeps its data on the heap.
func (c *Config) HeapLimitBytes() int64 {
	if c.Memory {
		return 0
	}
	p := planMemory(c.MemoryBudgetBytes)
	if !offHeap {
		return c.MemoryBudgetBytes
	}
	return c.MemoryBudgetBytes - p.cacheBytes - statemachine.MemTablesMax*int64(p.memTableBytes)
}
