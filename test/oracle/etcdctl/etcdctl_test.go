package etcdctl

import (
	"context"
	"flag"
	"fmt"
	"os"
	"testing"

	"raftkv/test/e2e/harness"
)

var show = flag.Bool("show", false, "log what every step printed")

func TestMain(m *testing.M) {
	served, err := serveEtcd()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	if served {
		return
	}
	m.Run()
}

// TestEtcdctl plays the script on both and compares.
func TestEtcdctl(t *testing.T) {
	bin, err := harness.Build(context.Background(), "../../..", t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	both := kinds(t, bin)
	printed := make([][]outcome, len(both))
	t.Run("play", func(t *testing.T) {
		for i, k := range both {
			t.Run(k.name, func(t *testing.T) {
				t.Parallel()
				printed[i] = newCluster(t, k, bin).play(script())
			})
		}
	})
	if t.Failed() {
		return
	}
	want, got := printed[0], printed[1]
	if len(want) != len(got) {
		t.Fatalf("%d steps on etcd, %d on raft-kv", len(want), len(got))
	}
	for i := range want {
		if *show {
			t.Logf("etcdctl %s\n%s", want[i].args, want[i].printed)
		}
		if want[i] != got[i] {
			t.Errorf("etcdctl %s\netcd:\n%s\nraft-kv:\n%s", want[i].args, want[i].printed, got[i].printed)
		}
	}
	t.Logf("%d steps", len(want))
}
