package listen_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc/metadata"

	"raftkv/rpc/listen"
	"raftkv/rpc/rpctest"
)

// TestClientRequests: what clients say of their version is counted as etcd
// counts it, but whatever they say, there are few series.
func TestClientRequests(t *testing.T) {
	requests := listen.NewClientRequests("raftkv.peer.v1.Peer")
	says := func(version ...string) context.Context {
		md := metadata.MD{}
		if len(version) > 0 {
			md.Set(rpctypes.MetadataClientAPIVersionKey, version...)
		}
		return metadata.NewIncomingContext(context.Background(), md)
	}
	unary := func(method string, version ...string) error { return requests.Count(says(version...), method, false) }
	stream := func(method string, version ...string) error { return requests.Count(says(version...), method, true) }
	const put, watch = "/etcdserverpb.KV/Put", "/etcdserverpb.Watch/Watch"
	long := strings.Repeat("3", 100)
	for _, err := range []error{
		unary(put, "3.7.3"), unary(put, "3.7.3"), stream(watch, "3.7.3"), unary(put), unary(put, "3.8.0-alpha.0"),
		unary(put, "curl"), stream(watch, long), unary(put, ""), unary(put, `3"} 1`),
		unary("/raftkv.peer.v1.Peer/Ask", "9.9.9"), stream("/raftkv.peer.v1.Peer/Messages"),
	} {
		if err != nil {
			t.Error(err)
		}
	}
	for _, err := range []error{unary(put, "3.\xff"), stream(watch, "\xff")} {
		if !errors.Is(err, rpctypes.ErrGRPCInvalidClientAPIVersion) {
			t.Errorf("a version that is no text: %v", err)
		}
	}
	const name = "etcd_server_client_requests_total"
	want := []string{
		name + `{client_api_version="3.7.3",type="stream"} 1`,
		name + `{client_api_version="3.7.3",type="unary"} 2`,
		name + `{client_api_version="3.8.0-alpha.0",type="unary"} 1`,
		name + `{client_api_version="other",type="stream"} 1`,
		name + `{client_api_version="other",type="unary"} 3`,
		name + `{client_api_version="unknown",type="unary"} 1`,
	}
	if got := series(t, requests); strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}

	for n := range 1000 {
		if err := unary(put, fmt.Sprintf("4.%d", n)); err != nil {
			t.Fatal(err)
		}
	}
	if got := series(t, requests); len(got) > 24 {
		t.Errorf("%d series:\n%s", len(got), strings.Join(got, "\n"))
	}
	// Those that are known stay.
	if err := unary(put, "3.7.3"); err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(series(t, requests), "\n"); !strings.Contains(got, `"3.7.3",type="unary"} 3`) {
		t.Errorf("a known version was not counted:\n%s", got)
	}
}

// series are the lines of a collector that are not comments.
func series(t *testing.T, requests *listen.ClientRequests) (lines []string) {
	t.Helper()
	for line := range strings.Lines(rpctest.Metrics(t, requests)) {
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "#") {
			lines = append(lines, line)
		}
	}
	return lines
}
