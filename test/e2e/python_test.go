package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"raftkv/test/e2e/harness"
)

// TestPythonClient lets a client library of another language, Debian's
// python3-etcd3, go through all its verbs on two members of a cluster.
func TestPythonClient(t *testing.T) {
	python := pythonWithEtcd3(t)
	script, err := filepath.Abs(filepath.Join("testdata", "etcd3_client.py"))
	if err != nil {
		t.Fatal(err)
	}
	c := harness.StartCluster(t, bin, 3)
	got := harness.Run(t, 5*time.Minute, harness.Command{Name: "python3", Path: python, Args: append([]string{script}, c.Endpoints()...)})
	if got.Code != 0 || !strings.HasSuffix(got.Stdout, "\ndone\n") {
		t.Errorf("%s\n%s", got.Stdout, got.Stderr)
	}
	t.Log(got.Stdout)
}

// pythonWithEtcd3 is Debian's own python, where its package is; it installs the
// package if it may. Without it the test is skipped, or fails under STRICT=1.
func pythonWithEtcd3(t *testing.T) string {
	t.Helper()
	const python = "/usr/bin/python3"
	has := func() ([]byte, error) {
		return exec.CommandContext(t.Context(), python, "-c", "import etcd3").CombinedOutput()
	}
	said, err := has()
	if err == nil {
		return python
	}
	if os.Getuid() == 0 {
		out, failed := exec.CommandContext(t.Context(), "apt-get", "install", "-y", "python3-etcd3").CombinedOutput()
		if said, err = has(); err == nil {
			return python
		}
		t.Logf("apt-get install: %v\n%s", failed, out)
	}
	if os.Getenv("STRICT") == "1" {
		t.Fatalf("STRICT=1: %s has no etcd3: %v\n%s", python, err, said)
	}
	t.Skipf("SKIPPED, nothing was tested: %s has no etcd3 (apt-get install python3-etcd3): %v\n%s", python, err, said)
	return ""
}
