package machine

import (
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"testing"
	"testing/fstest"
)

func TestFactsFromProc(t *testing.T) {
	proc := fstest.MapFS{
		"cpuinfo":              {Data: []byte("processor\t: 0\nmodel name\t: AMD EPYC: Example\n")},
		"meminfo":              {Data: []byte("MemTotal:       16384 kB\nMemFree:  1 kB\n")},
		"sys/kernel/osrelease": {Data: []byte("6.18.0-test\n")},
		"loadavg":              {Data: []byte("0.42 0.10 0.05 1/123 456\n")},
	}
	f := Learn(t.Context(), proc, "")
	if f.Processor != "AMD EPYC: Example" || f.MemoryBytes != 16<<20 || f.Kernel != "6.18.0-test" || f.LoadAverage != "0.42" {
		t.Errorf("got %+v", f)
	}
	if f.Cores < 1 || f.GoVersion != runtime.Version() {
		t.Errorf("got %+v", f)
	}
}

func TestWhatCannotBeLearntIsUnknown(t *testing.T) {
	f := Learn(t.Context(), fstest.MapFS{}, t.TempDir()) // no repository there
	for name, got := range map[string]string{
		"processor": f.Processor, "kernel": f.Kernel, "load": f.LoadAverage, "commit": f.Commit,
	} {
		if got != unknown {
			t.Errorf("%s is %q", name, got)
		}
	}
	if f.MemoryBytes != 0 {
		t.Errorf("memory is %d", f.MemoryBytes)
	}
}

func TestInspect(t *testing.T) {
	if b := Inspect(os.Args[0]); b.GoVersion != runtime.Version() {
		t.Errorf("this test program: %+v", b)
	}
	script := filepath.Join(t.TempDir(), "script")
	if err := os.WriteFile(script, []byte("#!/bin/sh\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	if b := Inspect(script); b.GoVersion != unknown || b.Module != unknown {
		t.Errorf("a script: %+v", b)
	}
}

func TestProbeDiskLeavesNothingBehind(t *testing.T) {
	dir := t.TempDir()
	disk, err := ProbeDisk(dir)
	if err != nil {
		t.Skipf("SKIPPED: the temporary directory is no disk: %v", err)
	}
	if disk.SyncP99US < disk.SyncP50US || disk.FileSystem == "" {
		t.Errorf("got %+v", disk)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

func TestProbeDiskNeedsADirectory(t *testing.T) {
	if _, err := ProbeDisk(filepath.Join(t.TempDir(), "absent")); err == nil {
		t.Error("probed a directory that does not exist")
	}
}

func TestBuildSaysWhatItIsFrom(t *testing.T) {
	stamp := func(modified string) []debug.BuildSetting {
		return []debug.BuildSetting{{Key: "vcs.revision", Value: "0123456789abcdef0123"}, {Key: "vcs.modified", Value: modified}}
	}
	for want, settings := range map[string][]debug.BuildSetting{
		"": nil, "0123456789ab": stamp("false"), "0123456789ab+changes": stamp("true"),
	} {
		if got := builtFrom(settings); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
