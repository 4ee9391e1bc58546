package fault

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"raftkv/test/e2e/harness"
)

// startRestored starts a node on a data directory that was made from a file, and
// compares it with what was said of the file.
func (k *killer) startRestored(name, peer, client, status string) {
	k.t.Helper()
	var file struct {
		Revision int64
		HashKV   uint32 `json:"hash_kv"`
	}
	if err := json.Unmarshal([]byte(status), &file); err != nil || file.Revision == 0 {
		k.t.Fatalf("snapshot status says %q: %v", status, err)
	}
	p := harness.Start(k.t, harness.Command{Name: name, Path: bin.RaftKV, Dir: k.dir, Args: []string{
		"--name", name, "--data-dir", name + ".data", "--listen-client-urls", client, "--advertise-client-urls", client,
		"--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer, "--initial-cluster", name + "=" + peer, "--log-format=console",
	}})
	defer p.Kill()
	p.ExactLine(2*harness.Patience, "ready to serve client requests")
	stock, err := clientv3.New(clientv3.Config{Endpoints: []string{client}})
	if err != nil {
		k.t.Fatal(err)
	}
	harness.Until(k.t, harness.Patience, "the hash of a restored node", func(ctx context.Context) error {
		resp, err := stock.HashKV(ctx, client, file.Revision)
		if err == nil && resp.Hash != file.HashKV {
			k.t.Fatalf("restored at revision %d with hash %08x, the file has %08x", file.Revision, resp.Hash, file.HashKV)
		}
		return err
	})
	if err := stock.Close(); err != nil {
		k.t.Error(err)
	}
}

// joinTime is how long a node may take to get the whole state, at killRate at
// most and on a machine with other things to do.
const joinTime = 6 * harness.Patience

// join kills a node that is being added and promoted, or the leader meanwhile.
// Started again it becomes a voter; then it is removed.
func (k *killer) join() bool {
	leader, _ := k.c.Leader()
	k.newest++
	n := k.c.Joining(k.newest, k.c.Others(leader)[0])
	n.Start()
	k.moment(1500 * time.Millisecond)
	struck := !strings.Contains(n.Stdout.String(), "Promoted: this node votes now")
	k.end(leader, n)
	if k.sender {
		leader.Start()
	}
	if k.down(n.Process) {
		n.Start()
	}
	n.ExactLine(joinTime, "ready to serve client requests")
	k.c.Ready()
	n.Votes()
	k.c.Leader()
	k.c.EqualHashes()
	k.gone(n)
	return struck
}

// remove kills the leader while it removes a member, or that member.
func (k *killer) remove() bool {
	leader, _ := k.c.Leader()
	k.newest++
	n := k.c.Joining(k.newest, leader)
	n.Start()
	n.ExactLine(joinTime, "ready to serve client requests")
	n.Votes()
	cli := k.cli(k.c.Others(n), "--timeout", "15s", "member", "remove", fmt.Sprint(n.Number))
	k.moment(60 * time.Millisecond)
	struck := !k.down(cli)
	k.end(leader, n)
	cli.Exit(2 * harness.Patience) // it may have been told, or not
	if k.sender {
		leader.Start()
		k.c.Ready(leader)
	}
	k.gone(n)
	return struck
}

// gone removes a member, unless it is removed, and requires that its node says so
// and ends, now or when it is started.
func (k *killer) gone(n *harness.Node) {
	k.t.Helper()
	rest := k.c.Others(n)
	harness.Until(k.t, 2*harness.Patience, "removing a member", func(ctx context.Context) error {
		resp, err := rest[0].Client().MemberList(ctx)
		if err != nil {
			return err
		}
		for _, m := range resp.Members {
			if m.Name == fmt.Sprint(n.Number) {
				_, err = rest[0].Client().MemberRemove(ctx, m.ID)
				return err
			}
		}
		return nil
	})
	if k.down(n.Process) {
		n.Start()
	}
	if code := n.Exit(2 * harness.Patience); code != exitRemoved {
		k.t.Errorf("removed node %d ended with %d", n.Number, code)
	}
	k.c.Gone(n)
}
