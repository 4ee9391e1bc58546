package wal

import (
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"syscall"
)

// withFile calls read with the content of a file, which is valid during the call
// alone. The content is mapped and not read into memory: a segment is large, and
// recovery must not need more memory than the member has otherwise. read must not
// let a panic of its own pass for a fault of the disk: only memory faults are
// turned into errors.
func withFile(path string, read func(content []byte) error) (err error) {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	// Nothing was written.
	defer func() { _ = file.Close() }()
	info, err := file.Stat()
	if err != nil {
		return err
	}
	if info.Size() == 0 {
		return read(nil)
	}
	content, err := syscall.Mmap(int(file.Fd()), 0, int(info.Size()), syscall.PROT_READ, syscall.MAP_SHARED)
	if err != nil {
		return fmt.Errorf("map %s: %w", path, err)
	}
	defer func() {
		if unmapping := syscall.Munmap(content); err == nil && unmapping != nil {
			err = fmt.Errorf("unmap %s: %w", path, unmapping)
		}
	}()
	// A page that the disk cannot read faults.
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		fault := recover()
		if fault == nil {
			return
		}
		if at, ok := fault.(interface {
			runtime.Error
			Addr() uintptr
		}); ok {
			err = fmt.Errorf("read %s: the disk failed, or somebody cut the file (%v at %#x)", path, at, at.Addr())
			return
		}
		panic(fault)
	}()
	return read(content)
}
