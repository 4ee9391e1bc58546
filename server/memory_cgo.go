//go:build cgo

package server

// offHeap says that Pebble takes large buffers from the C library.
const offHeap = true
