//go:build cgo && linux

package main

/*
#include <stdlib.h>
#ifdef __GLIBC__
#include <malloc.h>

enum {
	arenas = 1,
	mapped_bytes = 128 << 10, // more than a block, less than a memtable
	trim_bytes = 1 << 20,
};

// A constructor, because each of the threads that Go's runtime starts before
// main gets a heap, which would stay in use.
__attribute__((constructor)) static void tune_allocator(void) {
	mallopt(M_ARENA_MAX, arenas);
	mallopt(M_MMAP_THRESHOLD, mapped_bytes);
	mallopt(M_TRIM_THRESHOLD, trim_bytes);
}
#endif
*/
import "C"

// The C above keeps what the C library holds close to what Pebble has asked of it:
// the blocks of its cache, and memtables. As it comes, glibc keeps up to eight
// heaps a core and hands them out to threads, so that a block freed in one heap
// does not serve the next request in another; and once a memtable was freed,
// buffers of that size come from those heaps too, which then cannot shrink. A
// cache of 12 MiB has taken 75 MiB that way. Pebble asks once for each block that
// it reads from a file, so one heap with one lock is enough. mallopt refuses only
// values out of range.
