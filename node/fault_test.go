package node

import (
	"os"
	"os/exec"
	"strings"
	"testing"
)

// A fault of the core ends the process, even on the goroutine of somebody who
// recovers from panics: a core that stopped in the middle must not go on.
func TestAFaultOfTheCoreEndsTheProcess(t *testing.T) {
	const inside = "RAFTKV_TEST_FAULT_OF_THE_CORE"
	if os.Getenv(inside) != "" {
		w := startNodes(t, 1, []*countState{{}})
		func() {
			defer func() { _ = recover() }()
			w.nodes[1].call(func(*Core) { panic("a fault of the core") })
		}()
		select {} // it is on its way, whoever drives
	}
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestAFaultOfTheCoreEndsTheProcess$")
	cmd.Env = append(os.Environ(), inside+"=1")
	out, err := cmd.CombinedOutput()
	if err == nil || !strings.Contains(string(out), "panic: a fault of the core") || !strings.Contains(string(out), "fault_test.go") {
		t.Fatalf("%v, and it said:\n%s", err, out)
	}
}
