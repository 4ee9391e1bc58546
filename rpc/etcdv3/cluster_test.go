package etcdv3_test

import (
	"context"
	"slices"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"

	"raftkv/node"
	"raftkv/rpc/etcdv3"
	"raftkv/rpc/listen"
	"raftkv/rpc/request"
	"raftkv/rpc/rpctest"
	"raftkv/statemachine"
)

// clusterCalls are all calls that change the members.
func clusterCalls(t *testing.T, m *rpctest.Member, auth request.Authorizer) map[string]func() error {
	services := etcdv3.New(rpctest.Gate(t, m, auth, request.Config{}), m)
	conn := rpctest.Serve(t, listen.GRPCConfig{}, services.Register)
	cluster, ctx := pb.NewClusterClient(conn), context.Background()
	return map[string]func() error{
		"add": func() error {
			resp, err := cluster.MemberAdd(ctx, &pb.MemberAddRequest{PeerURLs: []string{"http://b:2", "http://a:1"}, IsLearner: true})
			if err == nil {
				checkHeader(t, "add", resp.GetHeader(), 0)
				if got := resp.GetMember(); got.GetID() != 0xa9 || !got.GetIsLearner() || !slices.Equal(got.GetPeerURLs(), []string{"http://a:1", "http://b:2"}) {
					t.Errorf("added %v", got)
				}
			}
			return err
		},
		"remove": func() error { _, err := cluster.MemberRemove(ctx, &pb.MemberRemoveRequest{ID: 7}); return err },
		"update": func() error {
			_, err := cluster.MemberUpdate(ctx, &pb.MemberUpdateRequest{ID: 7, PeerURLs: []string{"http://c:3"}})
			return err
		},
		"promote": func() error { _, err := cluster.MemberPromote(ctx, &pb.MemberPromoteRequest{ID: 7}); return err },
		"move": func() error {
			_, err := pb.NewMaintenanceClient(conn).MoveLeader(ctx, &pb.MoveLeaderRequest{TargetID: 7})
			return err
		},
	}
}

func TestChangesOfTheMembers(t *testing.T) {
	m := rpctest.New()
	calls := clusterCalls(t, m, request.AllowAll{})
	for _, name := range []string{"add", "remove", "update", "promote", "move"} {
		if err := calls[name](); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	want := []string{"add [http://a:1 http://b:2] learner true", "remove 7 force false", "update 7 [http://c:3]", "promote 7", "move to 7"}
	if got := m.Changes(); !slices.Equal(got, want) {
		t.Errorf("asked for %q, want %q", got, want)
	}
}

func TestRefusedChangesOfTheMembers(t *testing.T) {
	m := rpctest.New()
	calls := clusterCalls(t, m, request.AllowAll{})
	for _, tc := range []struct{ refusal, want error }{
		{statemachine.ErrMemberNotFound, rpctypes.ErrGRPCMemberNotFound},
		{statemachine.ErrPeerURLExists, rpctypes.ErrGRPCPeerURLExist},
		{statemachine.ErrMemberNotLearner, rpctypes.ErrGRPCMemberNotLearner},
		{node.ErrNotLeader, rpctypes.ErrGRPCNotLeader},
		{node.ErrSuperseded, rpctypes.ErrGRPCLeaderChanged},
		{rpctypes.ErrGRPCUnhealthy, rpctypes.ErrGRPCUnhealthy},
	} {
		m.Switch(rpctest.Switches{Refuse: tc.refusal})
		for name, call := range calls {
			if err := call(); rpctypes.ErrorDesc(err) != rpctypes.ErrorDesc(tc.want) {
				t.Errorf("%s: %v is answered as %v", name, tc.refusal, err)
			}
		}
	}
	m.Switch(rpctest.Switches{Learner: true})
	for name, call := range calls {
		if err := call(); rpctypes.ErrorDesc(err) != rpctypes.ErrorDesc(rpctypes.ErrGRPCNotSupportedForLearner) {
			t.Errorf("%s on a learner: %v", name, err)
		}
	}
}

func TestAddingAMemberWithoutAURL(t *testing.T) {
	m := rpctest.New()
	services := etcdv3.New(rpctest.Gate(t, m, request.AllowAll{}, request.Config{}), m)
	for _, urls := range [][]string{nil, {"a"}, {"http://a"}, {"http://a:1/path"}} {
		_, err := services.Cluster.MemberAdd(context.Background(), &pb.MemberAddRequest{PeerURLs: urls})
		if rpctypes.ErrorDesc(err) != rpctypes.ErrorDesc(rpctypes.ErrGRPCMemberBadURLs) {
			t.Errorf("%q: %v", urls, err)
		}
	}
	if got := m.Changes(); len(got) != 0 {
		t.Errorf("asked for %q", got)
	}
}

// noAdmin lets nobody change the cluster.
type noAdmin struct{ request.AllowAll }

func (noAdmin) Authorize(_ request.Identity, op request.Operation) error {
	if op.Access == request.Admin {
		return rpctypes.ErrGRPCPermissionDenied
	}
	return nil
}

func TestOnlyAdministratorsChangeTheMembers(t *testing.T) {
	m := rpctest.New()
	for name, call := range clusterCalls(t, m, noAdmin{}) {
		if err := call(); rpctypes.ErrorDesc(err) != rpctypes.ErrorDesc(rpctypes.ErrGRPCPermissionDenied) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if got := m.Changes(); len(got) != 0 {
		t.Errorf("asked for %q", got)
	}
}
