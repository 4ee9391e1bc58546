//go:build unix

package processors

import (
	"os"
	"runtime"
	"testing"
	"time"
)

func TestProcessUsesCPU(t *testing.T) {
	p := newMachine()
	before, err := p.used()
	if err != nil {
		t.Fatal(err)
	}
	after := before
	for deadline := time.Now().Add(10 * time.Second); after.cpu-before.cpu < 5*time.Millisecond; {
		if time.Now().After(deadline) {
			t.Fatalf("ten seconds of computing used %v", after.cpu-before.cpu)
		}
		if after, err = p.used(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestMeasuringAllocatesNothing(t *testing.T) {
	p := newMachine()
	if n := testing.AllocsPerRun(100, func() {
		if _, err := p.used(); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Fatalf("%v allocations for each measure", n)
	}
}

func TestProcessorsOfProcess(t *testing.T) {
	if os.Getenv("GOMAXPROCS") != "" || runtime.NumCPU() < 2 {
		t.Skip("SKIPPED: this needs two processors, and $GOMAXPROCS not to be set")
	}
	all := runtime.GOMAXPROCS(0)
	p := newMachine()
	defer p.all()
	if p.one(); runtime.GOMAXPROCS(0) != 1 {
		t.Fatalf("one is %d", runtime.GOMAXPROCS(0))
	}
	if p.all(); runtime.GOMAXPROCS(0) != all {
		t.Fatalf("all are %d, were %d", runtime.GOMAXPROCS(0), all)
	}
}
