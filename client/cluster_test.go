package client_test

import (
	"context"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"

	"raftkv/client"
	"raftkv/client/clienttest"
	"raftkv/rpc/kvstream/kvpb"
)

// summary writes what matters of a status in one line for each member.
func summary(s *client.ClusterStatus) string {
	var b strings.Builder
	for _, m := range s.Members {
		if m.Status == nil {
			fmt.Fprintf(&b, "%s down\n", m.Member.GetName())
			continue
		}
		fmt.Fprintf(&b, "%s %s %d\n", m.Member.GetName(), m.Status.GetRole(), m.Status.GetLastIndex())
	}
	return b.String()
}

func TestClusterStatus(t *testing.T) {
	cluster := clienttest.Start(t, clienttest.Options{Members: 5, Index: 156})
	// Member 1 is called 10, so that names are seen to be ordered as numbers.
	for n, name := range []string{"10", "2", "x", "3", "1"} {
		cluster.Member(n + 1).SetName(name)
	}
	cluster.Member(3).SetRole(kvpb.StatusResponse_LEARNER)
	cluster.Member(4).Stop()
	cluster.Member(5).Lag(56)
	stranger := clienttest.Start(t, clienttest.Options{ClusterID: 0xc2})
	e := cluster.Endpoints()
	// Members 2 and 3 are no endpoints: they are found through the list.
	c := connect(t, e[4], e[0], stranger.Member(1).Address(), deadAddress)

	s, err := c.ClusterStatus(testContext(t))
	if err != nil {
		t.Fatal(err)
	}
	want := "1 FOLLOWER 100\n2 FOLLOWER 156\n3 down\n10 LEADER 156\nx LEARNER 156\n"
	if got := summary(s); got != want {
		t.Errorf("status\n%swant\n%s", got, want)
	}
	if l := s.Leader(); l.GetName() != "10" {
		t.Errorf("leader %q, want 10", l.GetName())
	}
	if !slices.Equal(s.Strangers, stranger.Endpoints()) {
		t.Errorf("strangers %v, want %v", s.Strangers, stranger.Endpoints())
	}
	if err := s.Members[2].Err; err == nil || !strings.Contains(err.Error(), "refused") {
		t.Errorf("reason %v for member 3, want a refused connection", err)
	}
}

func TestClusterStatusAtMisleadingURLs(t *testing.T) {
	cluster := clienttest.Start(t, clienttest.Options{Members: 3})
	cluster.Member(2).SetClientURLs()
	cluster.Member(3).SetClientURLs("https://nowhere:1", "http://"+cluster.Member(1).Address())
	s, err := connect(t, cluster.Member(1).Address()).ClusterStatus(testContext(t))
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range map[int]string{1: "not published", 2: "another member answers there"} {
		if err := s.Members[i].Err; err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("member %d: %v, want %q", i+1, err, want)
		}
	}
}

func TestClusterStatusOfNothing(t *testing.T) {
	c := connectWith(t, client.Config{Endpoints: []string{deadAddress}, Fallback: []string{"127.0.0.1:2"}})
	_, err := c.ClusterStatus(testContext(t))
	var u *client.UnavailableError
	if !errors.As(err, &u) || len(u.Endpoints) != 2 {
		t.Errorf("error %v, want one that names both endpoints", err)
	}
}

func TestServerWithoutNativeService(t *testing.T) {
	cluster := clienttest.Start(t, clienttest.Options{Members: 2, WithoutNative: true, Index: 10})
	cluster.Member(2).SetRole(kvpb.StatusResponse_LEARNER)
	c := connect(t, cluster.Member(1).Address())
	ctx := testContext(t)

	for _, req := range []*kvpb.WriteRequest{put("k", "a"), appendTo("k", "b"), appendTo("new", "c")} {
		req.CountHolders = true
		resp, _, err := c.Write(ctx, req)
		if err != nil {
			t.Fatalf("%v: %v", req, err)
		}
		if resp.GetHolders() != 0 || resp.GetMembers() != 0 {
			t.Errorf("%v: holders %d/%d, want none counted", req, resp.GetHolders(), resp.GetMembers())
		}
	}
	if k, n := mustRead(t, c, "k"), mustRead(t, c, "new"); k != "ab" || n != "c" {
		t.Errorf("values %q and %q, want ab and c", k, n)
	}
	del := &kvpb.WriteRequest{Op: &kvpb.WriteRequest_Delete{Delete: &kvpb.Delete{Key: []byte("k"), RangeEnd: []byte{0}}}}
	if resp, _, err := c.Write(ctx, del); err != nil || resp.GetDeleted() != 2 {
		t.Errorf("deleted %d, %v; want 2", resp.GetDeleted(), err)
	}
	s, err := c.ClusterStatus(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := summary(s), "1 LEADER 14\n2 LEARNER 14\n"; got != want {
		t.Errorf("status\n%swant\n%s", got, want)
	}
}

// interfere lets another writer change key k just before each transaction, as
// often as it is told.
func interfere(t *testing.T, cluster *clienttest.Cluster, times int) {
	other := connect(t, cluster.Member(2).Address())
	cluster.Member(1).Intercept(func(ctx context.Context, req any, info *grpc.UnaryServerInfo, h grpc.UnaryHandler) (any, error) {
		if path.Base(info.FullMethod) == "Txn" && times > 0 {
			times--
			if _, _, err := other.Txn(ctx, &pb.TxnRequest{Success: []*pb.RequestOp{{Request: &pb.RequestOp_RequestPut{
				RequestPut: &pb.PutRequest{Key: []byte("k"), Value: []byte("other,")},
			}}}}); err != nil {
				return nil, err
			}
		}
		return h(ctx, req)
	})
}

func TestAppendThroughEtcdStartsAgain(t *testing.T) {
	cluster := clienttest.Start(t, clienttest.Options{Members: 2, WithoutNative: true})
	c := connect(t, cluster.Member(1).Address())
	interfere(t, cluster, 2)
	resp, _, err := c.Write(testContext(t), appendTo("k", "mine"))
	if err != nil || resp.GetLength() != int64(len("other,mine")) {
		t.Errorf("length %d, %v", resp.GetLength(), err)
	}
	if v := mustRead(t, c, "k"); v != "other,mine" {
		t.Errorf("value %q", v)
	}
}

func TestAppendThroughEtcdGivesUp(t *testing.T) {
	cluster := clienttest.Start(t, clienttest.Options{Members: 2, WithoutNative: true})
	c := connect(t, cluster.Member(1).Address())
	interfere(t, cluster, 1000)
	if _, _, err := c.Write(testContext(t), appendTo("k", "mine")); !errors.Is(err, client.ErrNotApplied) {
		t.Errorf("error %v, want not applied", err)
	}
}

func TestMembers(t *testing.T) {
	cluster := clienttest.Start(t, clienttest.Options{Members: 2})
	resp, answer, err := connect(t, deadAddress, cluster.Member(2).Address()).Members(testContext(t), true)
	if err != nil || len(resp.GetMembers()) != 2 || answer.MemberID != clienttest.FirstMemberID+1 {
		t.Errorf("%d members from %+v, %v", len(resp.GetMembers()), answer, err)
	}
}
