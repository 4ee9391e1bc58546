package procstat

import (
	"errors"
	"io/fs"
	"os"
	"runtime"
	"strings"
	"testing"
	"testing/fstest"
	"time"
)

const (
	stat   = "4711 (raft-kv (1) x) S 1 4711 4711 0 -1 4194560 3021 0 5 0 1234 766 11 12 20 0 9 0 100 734003200 5000 18446744073709551615\n"
	status = "Name:\traft-kv\nVmPeak:\t  716800 kB\nVmHWM:\t   20480 kB\nVmRSS:\t   16384 kB\nThreads:\t9\n"
)

func process(stat, status string) fstest.MapFS {
	return fstest.MapFS{
		"4711/stat":   {Data: []byte(stat)},
		"4711/status": {Data: []byte(status)},
	}
}

func TestReadsCPUAndMemory(t *testing.T) {
	u, err := Reader{process(stat, status)}.Read(4711)
	if err != nil {
		t.Fatal(err)
	}
	// 1234 user and 766 system ticks; the 11 and 12 behind them are children's.
	want := Usage{CPU: 20 * time.Second, ResidentBytes: 16 << 20, PeakResidentBytes: 20 << 20}
	if u != want {
		t.Errorf("got %+v, want %+v", u, want)
	}
}

func TestSumAddsAndFailsAsOne(t *testing.T) {
	proc := process(stat, status)
	proc["12/stat"] = &fstest.MapFile{Data: []byte("12 (etcd) R 1 1 1 0 -1 0 0 0 0 0 100 0 0 0 20 0")}
	proc["12/status"] = &fstest.MapFile{Data: []byte("VmHWM: 2 kB\nVmRSS: 1 kB\n")}
	sum, err := Reader{proc}.Sum([]int{4711, 12})
	if err != nil {
		t.Fatal(err)
	}
	if want := (Usage{21 * time.Second, 16<<20 + 1<<10, 20<<20 + 2<<10}); sum != want {
		t.Errorf("got %+v, want %+v", sum, want)
	}
	if _, err := (Reader{proc}).Sum([]int{4711, 13}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a missing process gave %v", err)
	}
}

func TestDamagedOrEndedProcessesAreErrors(t *testing.T) {
	for name, c := range map[string]struct{ stat, status, complaint string }{
		"empty":          {"", status, "no command name"},
		"short":          {"1 (x) S 1 2 3", status, "only 4 fields"},
		"not a number":   {strings.Replace(stat, "1234", "12x4", 1), status, "field 14"},
		"negative":       {strings.Replace(stat, " 766 ", " -766 ", 1), status, "field 15"},
		"zombie":         {strings.Replace(stat, " S ", " Z ", 1), status, "ended"},
		"kernel thread":  {stat, "Name:\tkworker\n", "VmRSS is missing"},
		"other unit":     {stat, strings.Replace(status, "16384 kB", "16 MB", 1), "VmRSS"},
		"peak is absent": {stat, "VmRSS: 1 kB\n", "VmHWM is missing"},
	} {
		t.Run(name, func(t *testing.T) {
			u, err := Reader{process(c.stat, c.status)}.Read(4711)
			if err == nil || !strings.Contains(err.Error(), c.complaint) {
				t.Errorf("got %+v, %v; want an error about %q", u, err, c.complaint)
			}
		})
	}
}

func TestReadsTheMachine(t *testing.T) {
	proc := fstest.MapFS{"stat": {Data: []byte("cpu  100 20 30 4000 50 6 7 80 9 0\ncpu0 1 1 1 1 1 1 1 1\n")}}
	m, err := Reader{proc}.Machine()
	if want := (Machine{CPU: 1500 * time.Millisecond, Stolen: 800 * time.Millisecond}); err != nil || m != want {
		t.Errorf("got %+v, %v; want %+v", m, err, want)
	}
	for _, damaged := range []string{"", "cpu0 1 2 3 4 5 6 7 8\n", "cpu 1 2 3\n", "cpu 1 2 x 4 5 6 7 8\n"} {
		proc["stat"] = &fstest.MapFile{Data: []byte(damaged)}
		if m, err := (Reader{proc}).Machine(); err == nil {
			t.Errorf("%q gave %+v", damaged, m)
		}
	}
}

func TestReadsItself(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("SKIPPED: /proc exists on Linux only")
	}
	u, err := Reader{os.DirFS("/proc")}.Read(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	if u.ResidentBytes < 1<<20 || u.PeakResidentBytes < u.ResidentBytes/2 || u.CPU < 0 {
		t.Errorf("implausible: %+v", u)
	}
}
