package conformance

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"testing"
	"time"
)

func TestMain(m *testing.M) {
	EnterSandbox()
	os.Exit(m.Run())
}

// needSandboxes skips, loudly, where there are none.
func needSandboxes(t *testing.T) {
	if err := SandboxMeans(t.Context()); err != nil {
		if os.Getenv("STRICT") == "1" {
			t.Fatalf("STRICT=1: %v", err)
		}
		fmt.Fprintf(os.Stderr, "SKIPPED %s: %v\n", t.Name(), err)
		t.Skipf("SKIPPED: %v", err)
	}
}

// TestSmoke runs the short subset of the suite against raft-kv.
func TestSmoke(t *testing.T) {
	needSandboxes(t)
	if testing.Short() {
		t.Skip("SKIPPED: -short was given, and this starts real clusters")
	}
	var out bytes.Buffer
	sum, err := Run(t.Context(), Options{ModuleDir: ".", Smoke: true, LogDir: t.ArtifactDir(), Out: &out})
	t.Log(out.String())
	if err != nil {
		t.Fatal(err)
	}
	if !sum.OK(true) {
		t.Error("not every test of the subset passed")
	}
}

// TestNothingOutlivesASandbox starts a process that is left behind: it holds
// the output open, so reading that ends only when the process does.
func TestNothingOutlivesASandbox(t *testing.T) {
	needSandboxes(t)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	out, err := sandboxed(ctx, "/bin/sh", "-c", "sleep 600 & echo left").CombinedOutput()
	if err != nil || string(out) != "left\n" || ctx.Err() != nil {
		t.Errorf("%q, %v, %v", out, err, ctx.Err())
	}
}

func TestASandboxReportsTheExitCode(t *testing.T) {
	needSandboxes(t)
	for _, code := range []int{0, 1, 7} {
		cmd := sandboxed(t.Context(), "/bin/sh", "-c", fmt.Sprint("exit ", code))
		if err := cmd.Run(); cmd.ProcessState == nil || cmd.ProcessState.ExitCode() != code {
			t.Errorf("exit %d: %v", code, err)
		}
	}
	if err := sandboxed(t.Context(), "/nowhere").Run(); err == nil {
		t.Error("a program that cannot be started is fine")
	}
}
