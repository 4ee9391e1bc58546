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
	for module, packages := range map[string][]string{
		root:                                {"./cmd/raft-kv", "./cmd/raft-cli"},
		filepath.Join(root, "test", "etcd"): {"./etcdctl", "./loader"},
	} {
		args := append([]string{"build", "-o", dir + string(filepath.Separator)}, packages...)
		cmd := exec.CommandContext(ctx, "go", args...)
		cmd.Dir = module
		if out, err := cmd.CombinedOutput(); err != nil {
			return Binaries{}, fmt.Errorf("go build %v in %s: %w\n%s", packages, module, err, out)
		}
	}
	return Binaries{
		RaftKV: filepath.Join(dir, "raft-kv"), RaftCLI: filepath.Join(dir, "raft-cli"),
		Etcdctl: filepath.Join(dir, "etcdctl"), Loader: filepath.Join(dir, "loader"),
	}, nil
}
