package server

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	"raftkv/rpc/kvstream/kvpb"
	"raftkv/rpc/peer/peerpb"
	"raftkv/server/identity"
	"raftkv/statemachine"
)

const (
	// askTime bounds one question to a member before this one belongs to the
	// cluster.
	askTime = 5 * time.Second
	// joinPause is the time between two requests to be added or promoted.
	joinPause = 300 * time.Millisecond
)

// findCluster asks the member at Config.Join about its cluster, and refuses what
// that contradicts before anything is changed.
func (c *Config) findCluster(ctx context.Context, kept identity.Identity, found bool) (admission, error) {
	var st *kvpb.StatusResponse
	err := c.ask(ctx, c.Join, func(ctx context.Context, native kvpb.NativeClient) (err error) {
		st, err = native.Status(ctx, &kvpb.StatusRequest{})
		return err
	})
	if err != nil {
		return admission{}, fmt.Errorf("--join: %s cannot be asked about its cluster: %w", c.Join, err)
	}
	if err := newEnough(statemachine.Version(st.GetClusterVersion()), c.newestVersion()); err != nil {
		return admission{}, fmt.Errorf("--join: %w", err)
	}
	a := admission{owner: owner{st.GetClusterId(), rand.Uint64()}, joined: true, through: []string{c.Join}}
	if found {
		a.memberID = kept.MemberID
		if kept.ClusterID != st.GetClusterId() {
			return a, fmt.Errorf("--join: the data directory %s belongs to member %x of cluster %x, but %s serves cluster %x; choose another --data-dir or another node to join through",
				c.DataDir, kept.MemberID, kept.ClusterID, c.Join, st.GetClusterId())
		}
	}
	for _, m := range st.GetMembers() {
		a.introduced = append(a.introduced, statemachine.Member{ID: m.GetId(), Name: m.GetName(), PeerURLs: m.GetPeerUrls(), IsLearner: m.GetLearner()})
		a.through = append(a.through, m.GetClientUrls()...)
	}
	if len(a.introduced) == 0 {
		return a, fmt.Errorf("--join: %s is itself still joining; name another node", c.Join)
	}
	own := c.ownPeerURLs()
	if c.Memory {
		// It has forgotten who it was, and comes back as somebody new.
		for _, m := range a.introduced {
			if m.Name == c.Name && slices.Equal(m.PeerURLs, own) {
				a.replaces = m.ID
				return a, nil
			}
		}
	}
	if _, err := knownAs(a.introduced, a.memberID, c.Name, own); err != nil {
		return a, fmt.Errorf("--join: %s", status.Convert(err).Message())
	}
	return a, nil
}

func (c *Config) ownPeerURLs() []string {
	for _, m := range c.InitialCluster {
		if m.Name == c.Name {
			return m.PeerURLs
		}
	}
	return nil
}

// ask calls the native service of a member.
func (c *Config) ask(ctx context.Context, endpoint string, call func(context.Context, kvpb.NativeClient) error) error {
	address, secured, err := c.dialing(endpoint, &c.ClientTLS)
	if err != nil {
		return err
	}
	conn, err := grpc.NewClient("passthrough:///"+address, grpc.WithTransportCredentials(secured))
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }() // it only says that it was closed before
	ctx, cancel := context.WithTimeout(ctx, askTime+c.requestTimeout())
	defer cancel()
	return call(ctx, kvpb.NewNativeClient(conn))
}

// dialing reads host:port or a URL and says how it is dialled: a host and port
// alone is secured as this member itself is.
func (c *Config) dialing(endpoint string, t *TLS) (address string, secured credentials.TransportCredentials, err error) {
	a, err := parseURL(endpoint)
	if err != nil {
		if a, err = parseURL("http://" + endpoint); err != nil {
			return "", nil, fmt.Errorf("%q is neither host:port nor a URL", endpoint)
		}
		a.secure = t.Configured()
	}
	switch {
	case a.network != "tcp":
		return "unix://" + a.host, insecure.NewCredentials(), nil
	case !a.secure:
		return a.host, insecure.NewCredentials(), nil
	case !t.given():
		// What is certified by nobody cannot be checked, either.
		return a.host, credentials.NewTLS(&tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS12}), nil
	}
	info, err := c.TLSCommon.info(t, zap.NewNop())
	if err != nil {
		return "", nil, err
	}
	config, err := info.ClientConfig()
	if err != nil {
		return "", nil, err
	}
	return a.host, credentials.NewTLS(config), nil
}

// join has this member added, unless it is already; nothing to do for those that
// were added by an operator or founded the cluster. Others may be joining: then
// it waits for its turn.
func (s *Server) join(ctx context.Context) error {
	told := ""
	for i := 0; len(s.admission.through) > 0; i++ {
		err := s.askToJoin(ctx, s.admission.through[i%len(s.admission.through)])
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		why := status.Convert(err).Message()
		if !mayJoinLater(err) {
			return fmt.Errorf("--join: the cluster does not take this node: %s", why)
		}
		if status.Code(err) == codes.FailedPrecondition {
			why = "another node is joining, this one waits for its turn"
		}
		if why != told {
			s.cfg.Logger.Warn("not joined yet, trying again: "+why, zap.String("through", s.admission.through[i%len(s.admission.through)]))
			told = why
		}
		if err := pause(ctx, joinPause); err != nil {
			return err
		}
	}
	return nil
}

func (s *Server) askToJoin(ctx context.Context, endpoint string) error {
	return s.cfg.ask(ctx, endpoint, func(ctx context.Context, native kvpb.NativeClient) error {
		if old := s.admission.replaces; old != 0 {
			_, err := native.RemoveMember(ctx, &kvpb.RemoveMemberRequest{MemberId: old})
			if err != nil && status.Code(err) != codes.NotFound {
				return err
			}
			s.admission.replaces = 0
		}
		_, err := native.Join(ctx, &kvpb.JoinRequest{
			ClusterId: s.clusterID, MemberId: s.memberID, Name: s.cfg.Name, PeerUrls: s.cfg.ownPeerURLs(),
			NewestVersion: uint32(s.cfg.newestVersion()),
		})
		return err
	})
}

// mayJoinLater tells refusals that pass from those that do not.
func mayJoinLater(err error) bool {
	switch status.Code(err) {
	case codes.Unavailable, codes.DeadlineExceeded, codes.Canceled, codes.Unknown:
		return true
	}
	switch rpctypes.ErrorDesc(err) {
	case rpctypes.ErrorDesc(rpctypes.ErrGRPCTooManyLearners), rpctypes.ErrorDesc(rpctypes.ErrGRPCNotSupportedForLearner),
		rpctypes.ErrorDesc(rpctypes.ErrGRPCMemberNotEnoughStarted):
		return true
	}
	return false
}

// seekPromotion asks the leader to make this learner a voter, until it is one.
// Only those that joined by themselves ask; a learner that an operator added is
// promoted by an operator.
func (s *Server) seekPromotion() {
	for {
		i := slices.IndexFunc(s.rooms.machine.Members(), func(m statemachine.Member) bool { return m.ID == s.memberID })
		if i >= 0 && s.published() {
			if !s.rooms.machine.Members()[i].IsLearner {
				s.cfg.Logger.Info("this member is a voter now")
				return
			}
			ctx, cancel := context.WithTimeout(s.ctx, s.cfg.requestTimeout())
			err := s.changeMembers(ctx, &peerpb.MemberChange{Kind: changePromote, MemberId: s.memberID})
			cancel()
			if err != nil && !errors.Is(err, rpctypes.ErrGRPCLearnerNotReady) && s.ctx.Err() == nil {
				s.cfg.Logger.Debug("not promoted yet", zap.Error(err))
			}
		}
		if pause(s.ctx, joinPause) != nil {
			return
		}
	}
}
