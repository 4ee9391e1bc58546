package main

import (
	"io/fs"
	"math"
	"os"
	"runtime/debug"
	"strconv"
	"strings"

	"raftkv/server"
)

// noLimit is how the runtime says that it has no memory limit.
const noLimit = math.MaxInt64

// memoryBudget chooses the budget of a process with so many members, for each
// of them, when none was given: three quarters of $GOMEMLIMIT if the runtime has
// one, else the default, or half of what a control group allows if that is less.
// The rest is for what no budget counts: what the C library's allocator loses,
// code, stacks, and of a group the kernel's share and dirty pages.
func memoryBudget(members int, goLimitBytes, groupLimitBytes int64) int64 {
	each := int64(server.DefaultMemoryBudgetBytes)
	switch {
	case goLimitBytes != noLimit:
		each = goLimitBytes / 4 * 3 / int64(members)
	case groupLimitBytes/2/int64(members) < each:
		each = groupLimitBytes / 2 / int64(members)
	}
	return max(each, server.MemoryBudgetBytesMin)
}

// goMemoryLimit is $GOMEMLIMIT as the runtime has understood it.
func goMemoryLimit() int64 { return debug.SetMemoryLimit(-1) }

// heapGrowthPercent is $GOGC unless it is set. What a member keeps on the heap is
// little, and most of what a request allocates is garbage when it is answered:
// with the runtime's 100 the collector ran every few milliseconds, and a lone
// client's p99 was its pauses. The limit of the heap bounds what this costs.
const heapGrowthPercent = 400

// limitHeap keeps the garbage collector within the budgets of all members of
// this process, and within $GOMEMLIMIT; below that limit the heap may grow.
func limitHeap(members ...server.Config) {
	sum := int64(0)
	for i := range members {
		limit := members[i].HeapLimitBytes()
		if limit == 0 {
			return
		}
		sum += limit
	}
	debug.SetMemoryLimit(min(sum, goMemoryLimit()))
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(heapGrowthPercent)
	}
}

// groupMemoryLimit is the smallest limit of the control groups of this process;
// noLimit if none is known. root is the root of the file system.
func groupMemoryLimit(root fs.FS) int64 {
	limit := int64(noLimit)
	for _, path := range groupLimitFiles(root) {
		text, err := fs.ReadFile(root, path)
		if err != nil {
			continue // there are two kinds of groups; no machine has all files
		}
		// "max" is no number and says that there is no limit.
		if n, err := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64); err == nil && n > 0 {
			limit = min(limit, n)
		}
	}
	return limit
}

// groupLimitFiles are where a limit may be found: inside a container at the top,
// else at the path of the group.
func groupLimitFiles(root fs.FS) []string {
	const v1, v2 = "sys/fs/cgroup/memory", "sys/fs/cgroup"
	files := []string{v1 + "/memory.limit_in_bytes", v2 + "/memory.max"}
	groups, err := fs.ReadFile(root, "proc/self/cgroup")
	if err != nil {
		return files
	}
	for line := range strings.Lines(string(groups)) {
		// number:controllers:path, where a group of the second kind has no
		// controllers.
		parts := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(parts) != 3 || parts[2] == "/" {
			continue
		}
		switch parts[1] {
		case "memory":
			files = append(files, v1+parts[2]+"/memory.limit_in_bytes")
		case "":
			files = append(files, v2+parts[2]+"/memory.max")
		}
	}
	return files
}
