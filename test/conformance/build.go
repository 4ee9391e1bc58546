package conformance

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// Packages that are built, at the versions in this module's go.mod.
const (
	suitePackage   = "go.etcd.io/etcd/tests/v3/common"
	etcdctlPackage = "go.etcd.io/etcd/etcdctl/v3"
	etcdPackage    = "go.etcd.io/etcd/server/v3"
)

// suite is what a run needs on disk.
type suite struct {
	binary   string // the compiled tests
	binDir   string // holds the server, under the name etcd, and etcdctl
	source   string // directory of the test package
	fixtures string // certificates, beside it
}

// build compiles the tests, etcdctl and the server into dir.
func build(ctx context.Context, o Options, dir string) (suite, error) {
	s := suite{binary: filepath.Join(dir, "common.test"), binDir: filepath.Join(dir, "bin")}
	if err := os.MkdirAll(s.binDir, 0o755); err != nil {
		return s, fmt.Errorf("a directory for the binaries: %w", err)
	}
	source, err := goCommand(ctx, o.ModuleDir, "list", "-tags", "e2e", "-f", "{{.Dir}}", suitePackage)
	if err != nil {
		return s, err
	}
	s.source = strings.TrimSpace(source)
	s.fixtures = filepath.Join(filepath.Dir(s.source), "fixtures")
	steps := [][]string{
		{o.ModuleDir, "test", "-c", "-tags", "e2e", "-o", s.binary, suitePackage},
		{o.ModuleDir, "build", "-o", filepath.Join(s.binDir, "etcdctl"), etcdctlPackage},
	}
	server := filepath.Join(s.binDir, "etcd")
	switch o.Against {
	case "":
		steps = append(steps, []string{filepath.Join(o.ModuleDir, "../.."), "build", "-o", server, "./cmd/raft-kv"})
	case "etcd":
		steps = append(steps, []string{o.ModuleDir, "build", "-o", server, etcdPackage})
	default:
		given, err := filepath.Abs(o.Against)
		if err != nil {
			return s, fmt.Errorf("the server %s: %w", o.Against, err)
		}
		if err := os.Symlink(given, server); err != nil {
			return s, fmt.Errorf("the server %s: %w", o.Against, err)
		}
	}
	for _, step := range steps {
		if _, err := goCommand(ctx, step[0], step[1:]...); err != nil {
			return s, err
		}
	}
	return s, nil
}

// names asks the compiled suite for its tests.
func (s suite) names(ctx context.Context) ([]string, error) {
	cmd := exec.CommandContext(ctx, s.binary, "-test.list", "^Test", "-bin-dir", s.binDir)
	cmd.Dir = s.source
	out, err := cmd.CombinedOutput()
	if err != nil {
		return nil, fmt.Errorf("the suite's list of tests: %w\n%s", err, out)
	}
	return strings.Fields(string(out)), nil
}

func goCommand(ctx context.Context, dir string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Dir = dir
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("go %s (in %s): %w\n%s", strings.Join(args, " "), dir, err, stderr.String())
	}
	return string(out), nil
}
