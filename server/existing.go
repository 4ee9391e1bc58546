package server

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"go.etcd.io/etcd/pkg/v3/netutil"
	"go.uber.org/zap"

	"raftkv/rpc/peer"
	"raftkv/rpc/peer/peerpb"
	"raftkv/server/identity"
	"raftkv/statemachine"
)

// resolveTime bounds the look-up of names when URLs are compared.
const resolveTime = 30 * time.Second

// findOwnID asks the other members of the initial cluster which of the members
// of the live one this is, as etcd does: by its peer URLs. Flags and cluster must
// list the same members.
func (c *Config) findOwnID(ctx context.Context, kept identity.Identity, found bool) (admission, error) {
	live, err := c.askPeers(ctx)
	if err != nil {
		return admission{}, err
	}
	if err := newEnough(statemachine.Version(live.GetClusterVersion()), c.newestVersion()); err != nil {
		return admission{}, err
	}
	if len(live.GetMembers()) != len(c.InitialCluster) {
		return admission{}, fmt.Errorf("error validating peerURLs: member count is unequal: the cluster has %d members, --initial-cluster names %d", len(live.GetMembers()), len(c.InitialCluster))
	}
	a := admission{joined: true}
	a.clusterID = live.GetClusterId()
	for _, m := range live.GetMembers() {
		name, err := c.nameAt(ctx, m.GetPeerUrls())
		if err != nil {
			return a, fmt.Errorf("error validating peerURLs: PeerURLs: no match found for existing member (%x, %v): %w", m.GetId(), m.GetPeerUrls(), err)
		}
		a.introduced = append(a.introduced, statemachine.Member{ID: m.GetId(), Name: name, PeerURLs: m.GetPeerUrls(), IsLearner: m.GetLearner()})
		if name != c.Name {
			continue
		}
		a.memberID = m.GetId()
		if !found && len(m.GetClientUrls()) > 0 {
			return a, fmt.Errorf("member %x (%q) has already been bootstrapped, but its data directory %s is empty: a member that lost its directory has forgotten its votes; remove it from the cluster and add it again", m.GetId(), c.Name, c.DataDir)
		}
	}
	if found && (kept.MemberID != a.memberID || kept.ClusterID != a.clusterID) {
		return a, fmt.Errorf("the data directory %s is of member %x in cluster %x, the cluster has this node as member %x of cluster %x; use an empty one", c.DataDir, kept.MemberID, kept.ClusterID, a.memberID, a.clusterID)
	}
	return a, nil
}

// nameAt is the name that the flags give to the member at some URLs.
func (c *Config) nameAt(ctx context.Context, urls []string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, resolveTime)
	defer cancel()
	reason := errors.New("--initial-cluster does not name it")
	for _, m := range c.InitialCluster {
		equal, err := netutil.URLStringsEqual(ctx, zap.NewNop(), slices.Sorted(slices.Values(urls)), slices.Sorted(slices.Values(m.PeerURLs)))
		if equal {
			return m.Name, nil
		}
		if err != nil {
			reason = err
		}
	}
	return "", reason
}

// askPeers asks the others one after the other for their view of the cluster.
func (c *Config) askPeers(ctx context.Context) (*peerpb.ClusterResponse, error) {
	var faults []error
	for _, m := range c.InitialCluster {
		if m.Name == c.Name {
			continue
		}
		for _, u := range m.PeerURLs {
			address, secured, err := c.dialing(u, &c.PeerTLS)
			if err == nil {
				asking, cancel := context.WithTimeout(ctx, askTime)
				var live *peerpb.ClusterResponse
				live, err = peer.AskCluster(asking, address, secured)
				cancel()
				if err == nil {
					return live, nil
				}
			}
			faults = append(faults, err)
		}
	}
	if len(faults) == 0 {
		faults = append(faults, errors.New("--initial-cluster names nobody else"))
	}
	return nil, fmt.Errorf("cannot fetch cluster info from peer urls: %w", errors.Join(faults...))
}
