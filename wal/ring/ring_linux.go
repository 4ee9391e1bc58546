package ring

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Ring is a queue of requests shared with the kernel. One request is under way
// at a time.
type Ring struct {
	fd     int
	queues []byte // both queues, mapped
	slots  []byte // of requests, mapped
	at     setup
	// done is an eventfd, which the kernel counts up when a request has ended.
	done  *os.File
	count [8]byte
	// broken is why the ring is not used any more.
	broken error
}

var errClosed = errors.New("the ring is closed")

// requests that the queue has room for; the kernel wants a power of two.
const requests = 1

// New sets a ring up.
func New() (r *Ring, err error) {
	r = &Ring{fd: -1}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("set up io_uring: %w", err), r.Close())
			r = nil
		}
	}()
	if r.fd, err = setUp(requests, &r.at); err != nil {
		return r, err
	}
	if r.at.features&featureSingleMap == 0 {
		return r, fmt.Errorf("a kernel before 5.4: %w", errors.ErrUnsupported)
	}
	size := max(r.at.submit.array+4*r.at.submitEntries, r.at.complete.entries+completionBytes*r.at.completeEntries)
	const access, how = unix.PROT_READ | unix.PROT_WRITE, unix.MAP_SHARED | unix.MAP_POPULATE
	if r.queues, err = unix.Mmap(r.fd, offsetQueues, int(size), access, how); err != nil {
		return r, err
	}
	if r.slots, err = unix.Mmap(r.fd, offsetSlots, int(r.at.submitEntries)*int(unsafe.Sizeof(request{})), access, how); err != nil {
		return r, err
	}
	done, err := unix.Eventfd(0, unix.EFD_NONBLOCK|unix.EFD_CLOEXEC)
	if err != nil {
		return r, err
	}
	r.done = os.NewFile(uintptr(done), "eventfd") // non-blocking: reads of it wait in the poller
	return r, registerEvent(r.fd, done)
}

// Close gives everything back.
func (r *Ring) Close() error {
	var errs []error
	if r.done != nil {
		errs = append(errs, r.done.Close())
	}
	for _, mapped := range [][]byte{r.queues, r.slots} {
		if mapped != nil {
			errs = append(errs, unix.Munmap(mapped))
		}
	}
	if r.fd >= 0 {
		errs = append(errs, unix.Close(r.fd))
	}
	*r = Ring{fd: -1, broken: errClosed}
	return errors.Join(errs...)
}

// Broken says why the ring is not used any more, so that Fdatasync is the system
// call from now on; nil while it is used.
func (r *Ring) Broken() error { return r.broken }

// Fdatasync is fdatasync(2) of f.
func (r *Ring) Fdatasync(f *os.File) error {
	if r.broken != nil || !r.submit(request{opcode: opFsync, fd: int32(f.Fd()), flags: fsyncData}) {
		return plain(f)
	}
	result, err := r.wait()
	return r.ended(f, result, err)
}

// ended makes an error of what the kernel says about the sync of f, or of err,
// because of which it cannot be learned. If the sync did not begin, it is made up
// for.
func (r *Ring) ended(f *os.File, result int32, err error) error {
	switch {
	case err != nil:
		// It is under way, and how it ends cannot be learned any more.
		r.broken = fmt.Errorf("learn how a sync ended: %w", err)
		return &os.PathError{Op: "fdatasync", Path: f.Name(), Err: err}
	case notBegun(unix.Errno(-result)):
		// As where it may not start a thread for it, which it finds out slowly, each
		// time.
		r.broken = fmt.Errorf("the kernel did not begin a sync: %w", unix.Errno(-result))
		return plain(f)
	case result < 0:
		return &os.PathError{Op: "fdatasync", Path: f.Name(), Err: unix.Errno(-result)}
	}
	return nil
}

// notBegun says whether a result means that the kernel has not begun: what a
// system call would have been restarted for is not translated here.
func notBegun(result unix.Errno) bool {
	const restart, restartBlock = 512, 516 // ERESTARTSYS, ERESTART_RESTARTBLOCK
	return result == unix.ECANCELED || result == unix.EINTR || result >= restart && result <= restartBlock
}

// plain syncs by the system call.
func plain(f *os.File) error {
	for {
		switch err := unix.Fdatasync(int(f.Fd())); err {
		case nil:
			return nil
		case unix.EINTR:
		default:
			return &os.PathError{Op: "fdatasync", Path: f.Name(), Err: err}
		}
	}
}

// submit hands a request to the kernel. If it returns false, the kernel has not
// taken it and the ring is not used again.
func (r *Ring) submit(q request) bool {
	tail := r.word(r.at.submit.tail)
	n := atomic.LoadUint32(tail)
	slot := n & *r.word(r.at.submit.mask)
	*(*request)(unsafe.Pointer(&r.slots[uintptr(slot)*unsafe.Sizeof(q)])) = q
	*r.word(r.at.submit.array + 4*slot) = slot
	atomic.StoreUint32(tail, n+1)
	for {
		// The call only starts the request, so the scheduler is not told of it.
		took, _, errno := unix.RawSyscall6(unix.SYS_IO_URING_ENTER, uintptr(r.fd), 1, 0, 0, 0, 0)
		switch {
		case errno == 0 && took == 1:
			return true
		case errno == unix.EINTR:
			continue
		case errno == 0:
			r.broken = errors.New("the kernel did not take a sync")
		default:
			r.broken = fmt.Errorf("hand a sync to the kernel: %w", errno)
		}
		return false
	}
}

// wait returns what the kernel says about the request under way.
func (r *Ring) wait() (result int32, err error) {
	head, tail := r.word(r.at.complete.head), r.word(r.at.complete.tail)
	for {
		n := atomic.LoadUint32(head)
		if n != atomic.LoadUint32(tail) {
			at := r.at.complete.entries + completionBytes*(n&*r.word(r.at.complete.mask))
			result = int32(binary.NativeEndian.Uint32(r.queues[at+completionResult:]))
			atomic.StoreUint32(head, n+1)
			return result, nil
		}
		// It may count a request that was found without asking; then it is looked
		// once more.
		if _, err := r.done.Read(r.count[:]); err != nil {
			return 0, err
		}
	}
}

func (r *Ring) word(offset uint32) *uint32 { return (*uint32)(unsafe.Pointer(&r.queues[offset])) }
