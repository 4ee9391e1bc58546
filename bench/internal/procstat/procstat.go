package procstat

import (
	"bytes"
	"fmt"
	"io/fs"
	"strconv"
	"strings"
	"time"
)

// tick is 1/USER_HZ.
const tick = 10 * time.Millisecond

// Usage is what a process, or several together, used up to one instant.
type Usage struct {
	// CPU is user and system time since the process began.
	CPU time.Duration
	// ResidentBytes is memory in RAM now, PeakResidentBytes the most so far. Of
	// several processes both are sums, so the peak is an upper bound.
	ResidentBytes, PeakResidentBytes int64
}

// Reader reads processes below a proc file system.
type Reader struct {
	// Proc is os.DirFS("/proc") outside of tests.
	Proc fs.FS
}

// Sum reads all processes and adds them up.
func (r Reader) Sum(pids []int) (Usage, error) {
	var sum Usage
	for _, pid := range pids {
		u, err := r.Read(pid)
		if err != nil {
			return Usage{}, err
		}
		sum.CPU += u.CPU
		sum.ResidentBytes += u.ResidentBytes
		sum.PeakResidentBytes += u.PeakResidentBytes
	}
	return sum, nil
}

// Read reads one process.
func (r Reader) Read(pid int) (Usage, error) {
	dir := strconv.Itoa(pid)
	stat, err := fs.ReadFile(r.Proc, dir+"/stat")
	if err != nil {
		return Usage{}, fmt.Errorf("reading the processor time of process %d: %w", pid, err)
	}
	cpu, err := parseStat(stat)
	if err != nil {
		return Usage{}, fmt.Errorf("process %d: %w", pid, err)
	}
	status, err := fs.ReadFile(r.Proc, dir+"/status")
	if err != nil {
		return Usage{}, fmt.Errorf("reading the memory of process %d: %w", pid, err)
	}
	resident, peak, err := parseStatus(status)
	if err != nil {
		return Usage{}, fmt.Errorf("process %d: %w", pid, err)
	}
	return Usage{CPU: cpu, ResidentBytes: resident, PeakResidentBytes: peak}, nil
}

// Fields of /proc/PID/stat counted from the state, which is the first one
// behind the command's name; proc(5) counts it as number 3.
const (
	statState   = 0
	statUtime   = 14 - 3
	statStime   = 15 - 3
	stateZombie = "Z"
	stateDead   = "X"
)

// parseStat returns user and system time. The command's name may hold spaces
// and parentheses, so fields are counted from the last closing one.
func parseStat(stat []byte) (time.Duration, error) {
	end := bytes.LastIndexByte(stat, ')')
	if end < 0 {
		return 0, fmt.Errorf("stat has no command name: %.60q", stat)
	}
	fields := strings.Fields(string(stat[end+1:]))
	if len(fields) <= statStime {
		return 0, fmt.Errorf("stat has only %d fields behind the command name", len(fields))
	}
	if state := fields[statState]; state == stateZombie || state == stateDead {
		return 0, fmt.Errorf("the process has ended (state %s)", state)
	}
	var ticks uint64
	for _, i := range []int{statUtime, statStime} {
		n, err := strconv.ParseUint(fields[i], 10, 63)
		if err != nil {
			return 0, fmt.Errorf("stat field %d: %w", i+3, err)
		}
		ticks += n
	}
	return time.Duration(ticks) * tick, nil
}

// Machine is what all processes of the machine used since it was started.
// Interrupts are left out: the kernel charges them to no process.
type Machine struct {
	CPU time.Duration
	// Stolen is time in which the machine's own host ran somebody else.
	Stolen time.Duration
}

// Machine reads the whole machine.
func (r Reader) Machine() (Machine, error) {
	stat, err := fs.ReadFile(r.Proc, "stat")
	if err != nil {
		return Machine{}, fmt.Errorf("reading the machine's processor time: %w", err)
	}
	return parseMachine(stat)
}

// parseMachine reads the line "cpu user nice system idle iowait irq softirq
// steal ...". Guests' time is contained in user and nice.
func parseMachine(stat []byte) (Machine, error) {
	const user, nice, system, steal = 1, 2, 3, 8
	line, _, _ := strings.Cut(string(stat), "\n")
	fields := strings.Fields(line)
	if len(fields) <= steal || fields[0] != "cpu" {
		return Machine{}, fmt.Errorf("the machine's stat begins with %.60q", line)
	}
	var ticks [steal + 1]uint64
	for i := 1; i <= steal; i++ {
		var err error
		if ticks[i], err = strconv.ParseUint(fields[i], 10, 63); err != nil {
			return Machine{}, fmt.Errorf("the machine's stat, field %d: %w", i, err)
		}
	}
	return Machine{
		CPU:    time.Duration(ticks[user]+ticks[nice]+ticks[system]) * tick,
		Stolen: time.Duration(ticks[steal]) * tick,
	}, nil
}

// parseStatus returns resident memory and its peak in bytes.
func parseStatus(status []byte) (resident, peak int64, err error) {
	if resident, err = parseKiB(status, "VmRSS"); err != nil {
		return 0, 0, err
	}
	if peak, err = parseKiB(status, "VmHWM"); err != nil {
		return 0, 0, err
	}
	return resident, peak, nil
}

// parseKiB returns the value of a line such as "VmRSS:	  12345 kB" in bytes.
func parseKiB(table []byte, name string) (int64, error) {
	for line := range strings.Lines(string(table)) {
		value, found := strings.CutPrefix(line, name+":")
		if !found {
			continue
		}
		number, unit, _ := strings.Cut(strings.TrimSpace(value), " ")
		kib, err := strconv.ParseInt(number, 10, 53)
		if err != nil || unit != "kB" {
			return 0, fmt.Errorf("%s is %q, not a number of kB", name, strings.TrimSpace(value))
		}
		return kib << 10, nil
	}
	return 0, fmt.Errorf("%s is missing", name)
}
