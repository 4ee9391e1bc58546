package machine

import (
	"errors"
	"testing"
)

func TestMemoryDiskIsRefused(t *testing.T) {
	const memory = "/dev/shm"
	if fileSystem(memory) != "tmpfs" {
		t.Skipf("SKIPPED: %s is not a tmpfs here", memory)
	}
	if _, err := ProbeDisk(memory); !errors.Is(err, ErrMemoryDisk) {
		t.Errorf("err = %v", err)
	}
}
