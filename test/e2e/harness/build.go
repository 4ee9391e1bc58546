package harness

import (
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
)

// Binaries are the programs under test, and the tools of etcd that are pointed
// at them.
type Binaries struct {
	RaftKV, RaftCLI string
	Etcdctl, Loader string
}

// Build compiles all binaries into dir. root is the directory of the module.
// The tools of etcd come from a module of their own, with the dependencies that
// etcd released them with.
func Build(ctx context.Context, root, dir string) (Binaries, error) {
	bin, err := BuildOurs(ctx, root, dir)
	if err != nil {
		return Binaries{}, err
	}
	bin.Etcdctl, bin.Loader = filepath.Join(dir, "etcdctl"), filepath.Join(dir, "loader")
	return bin, build(ctx, filepath.Join(root, "test", "etcd"), dir, "./etcdctl", "./loader")
}

// BuildOurs compiles the programs under test alone.
func BuildOurs(ctx context.Context, root, dir string) (Binaries, error) {
	bin := Binaries{RaftKV: filepath.Join(dir, "raft-kv"), RaftCLI: filepath.Join(dir, "raft-cli")}
	return bin, build(ctx, root, dir, "./cmd/raft-kv", "./cmd/raft-cli")
}

func build(ctx context.Context, module, dir string, packages ...string) error {
	args := append([]string{"build", "-o", dir + string(filepath.Separator)}, packages...)
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Dir = module
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("go build %v in %s: %w\n%s", packages, module, err, out)
	}
	return nil
}
