package ring

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// The kernel's side of io_uring, as far as it is used here (io_uring_setup(2),
// io_uring_enter(2), io_uring_register(2)).
const (
	opFsync   = 3 // IORING_OP_FSYNC
	fsyncData = 1 // IORING_FSYNC_DATASYNC

	featureSingleMap = 1 // IORING_FEAT_SINGLE_MMAP: one mapping has both queues

	offsetQueues = 0          // IORING_OFF_SQ_RING
	offsetSlots  = 0x10000000 // IORING_OFF_SQES

	registerEventfd = 4 // IORING_REGISTER_EVENTFD

	// A completion is 16 bytes: what the request was called, its result, flags.
	completionBytes  = 16
	completionResult = 8
)

// setup is struct io_uring_params: what the kernel says about a ring. The offsets
// are those of numbers and arrays in the mapping of the queues.
type setup struct {
	submitEntries, completeEntries uint32
	_                              [3]uint32
	features                       uint32
	_                              [4]uint32
	submit                         struct{ head, tail, mask, _, _, _, array, _, _, _ uint32 }
	complete                       struct{ head, tail, mask, _, _, entries, _, _, _, _ uint32 }
}

// request is struct io_uring_sqe.
type request struct {
	opcode uint8
	_      [3]uint8
	fd     int32
	_      [5]uint32
	flags  uint32 // of the operation
	_      [4]uint64
}

func setUp(entries uint32, s *setup) (fd int, err error) {
	n, _, errno := unix.Syscall(unix.SYS_IO_URING_SETUP, uintptr(entries), uintptr(unsafe.Pointer(s)), 0)
	if errno != 0 {
		return -1, errno
	}
	return int(n), nil
}

func registerEvent(ring, eventfd int) error {
	fd := int32(eventfd)
	_, _, errno := unix.Syscall6(unix.SYS_IO_URING_REGISTER, uintptr(ring), registerEventfd, uintptr(unsafe.Pointer(&fd)), 1, 0, 0)
	if errno != 0 {
		return errno
	}
	return nil
}
