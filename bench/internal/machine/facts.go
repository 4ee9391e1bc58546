package machine

import (
	"context"
	"debug/buildinfo"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"time"
)

const (
	unknown = "unknown"
	// commitDigits of a commit are enough; changed is behind one that files differ
	// from.
	commitDigits = 12
	changed      = "+changes"
)

// Facts describe the machine.
type Facts struct {
	Cores       int    `json:"cores"`
	Processor   string `json:"processor"`
	MemoryBytes int64  `json:"memory_bytes"` // 0: unknown
	OS          string `json:"os"`
	Kernel      string `json:"kernel"`
	// LoadAverage is that of the last minute when the measurements began.
	LoadAverage string `json:"load_average"`
	GoVersion   string `json:"go_version"` // of the generator
	// Commit of the repository, with "+changes" if files differ from it.
	Commit string `json:"commit"`
}

// String is the machine as reports name it.
func (f Facts) String() string {
	return fmt.Sprintf("%d cores (%s), %.1f GiB, %s, kernel %s, load %s at the start",
		f.Cores, f.Processor, float64(f.MemoryBytes)/(1<<30), f.OS, f.Kernel, f.LoadAverage)
}

// Learn collects the facts. proc is os.DirFS("/proc") outside of tests; repo is
// the repository's directory, "" if there is none.
func Learn(ctx context.Context, proc fs.FS, repo string) Facts {
	return Facts{
		Cores:       runtime.NumCPU(),
		Processor:   processor(proc),
		MemoryBytes: memory(proc),
		OS:          runtime.GOOS + "/" + runtime.GOARCH,
		Kernel:      firstField(proc, "sys/kernel/osrelease"),
		LoadAverage: firstField(proc, "loadavg"),
		GoVersion:   runtime.Version(),
		Commit:      commit(ctx, repo),
	}
}

func firstField(proc fs.FS, name string) string {
	data, err := fs.ReadFile(proc, name)
	if fields := strings.Fields(string(data)); err == nil && len(fields) > 0 {
		return fields[0]
	}
	return unknown
}

// tableValue finds "name : value" lines as in cpuinfo and meminfo.
func tableValue(proc fs.FS, file, name string) string {
	data, err := fs.ReadFile(proc, file)
	if err != nil {
		return unknown
	}
	for line := range strings.Lines(string(data)) {
		if key, value, found := strings.Cut(line, ":"); found && strings.TrimSpace(key) == name {
			return strings.TrimSpace(value)
		}
	}
	return unknown
}

func processor(proc fs.FS) string { return tableValue(proc, "cpuinfo", "model name") }

func memory(proc fs.FS) int64 {
	number, unit, _ := strings.Cut(tableValue(proc, "meminfo", "MemTotal"), " ")
	kib, err := strconv.ParseInt(number, 10, 53)
	if err != nil || unit != "kB" {
		return 0
	}
	return kib << 10
}

func commit(ctx context.Context, repo string) string {
	if repo == "" {
		return unknown
	}
	head, err := git(ctx, repo, "rev-parse", fmt.Sprintf("--short=%d", commitDigits), "HEAD")
	if err != nil {
		return unknown
	}
	if changes, err := git(ctx, repo, "status", "--porcelain"); err != nil || changes != "" {
		head += changed
	}
	return head
}

func git(ctx context.Context, repo string, args ...string) (string, error) {
	// Without optional locks a status never writes to the repository's index.
	args = append([]string{"--no-optional-locks", "-C", repo}, args...)
	out, err := exec.CommandContext(ctx, "git", args...).Output()
	return strings.TrimSpace(string(out)), err
}

// Binary describes a program under test.
type Binary struct {
	// Path is where it is here, which is nobody else's concern; Program its file's
	// name.
	Path      string `json:"-"`
	Program   string `json:"program"`
	GoVersion string `json:"go_version"`
	// Commit is what it was built from, as Facts.Commit; empty if it does not say.
	Commit string `json:"commit,omitempty"`
	Module string `json:"module"`
	// Server is the version of etcd's server module it contains, if any.
	Server string `json:"etcd_server,omitempty"`
}

const etcdServerModule = "go.etcd.io/etcd/server/v3"

// Inspect reads the build information of a Go program.
func Inspect(path string) Binary {
	b := Binary{Path: path, Program: filepath.Base(path), GoVersion: unknown, Module: unknown}
	info, err := buildinfo.ReadFile(path)
	if err != nil {
		return b
	}
	b.GoVersion, b.Module, b.Commit = info.GoVersion, info.Main.Path, builtFrom(info.Settings)
	for _, dep := range info.Deps {
		if dep.Path == etcdServerModule {
			b.Server = dep.Version
		}
	}
	return b
}

// builtFrom is the commit that a build was stamped with.
func builtFrom(settings []debug.BuildSetting) string {
	stamps := map[string]string{}
	for _, s := range settings {
		stamps[s.Key] = s.Value
	}
	revision := stamps["vcs.revision"]
	if len(revision) > commitDigits {
		revision = revision[:commitDigits]
	}
	if revision != "" && stamps["vcs.modified"] == "true" {
		revision += changed
	}
	return revision
}

// Disk describes where the servers keep their data.
type Disk struct {
	FileSystem string `json:"file_system"`
	// SyncP50US and SyncP99US are the time of a 512-byte append with fsync, in
	// microseconds, while the disk is idle.
	SyncP50US int64 `json:"sync_p50_us"`
	SyncP99US int64 `json:"sync_p99_us"`
}

// ErrMemoryDisk means that the directory is in RAM, where fsync costs nothing
// and every figure that depends on it is worthless.
var ErrMemoryDisk = errors.New("the directory is on a memory file system, where fsync costs nothing")

const probeWrites = 200

// ProbeDisk learns about the disk below directory.
func ProbeDisk(directory string) (disk Disk, err error) {
	disk = Disk{FileSystem: fileSystem(directory)}
	if disk.FileSystem == "tmpfs" || disk.FileSystem == "ramfs" {
		return disk, fmt.Errorf("%s: %w", directory, ErrMemoryDisk)
	}
	path := filepath.Join(directory, "sync-probe")
	file, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return disk, fmt.Errorf("probing the disk: %w", err)
	}
	defer func() { err = errors.Join(err, file.Close(), os.Remove(path)) }()
	var took []time.Duration
	for range probeWrites {
		began := time.Now()
		if _, err := file.Write(make([]byte, 512)); err != nil {
			return disk, fmt.Errorf("probing the disk: %w", err)
		}
		if err := file.Sync(); err != nil {
			return disk, fmt.Errorf("probing the disk: %w", err)
		}
		took = append(took, time.Since(began))
	}
	slices.Sort(took)
	disk.SyncP50US = took[probeWrites/2].Microseconds()
	disk.SyncP99US = took[probeWrites*99/100].Microseconds()
	return disk, nil
}
