package verb

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"raftkv/client"
)

func memberCommand(s *Session) *cobra.Command {
	list := membersCommand(s)
	list.Use, list.Example = "list", "  raft-cli member list -w table"
	cmd := family("member", "Add, remove and promote members",
		memberAddCommand(s), memberRemoveCommand(s), memberUpdateCommand(s), memberPromoteCommand(s), list)
	cmd.Long = `Add, remove and promote members. A member is named by its id, in hexadecimal,
or by its name. One command adds a node by itself: raft-kv --id N --join host:port`
	cmd.Example = "  raft-cli member list\n  raft-cli member remove 4"
	return cmd
}

func memberAddCommand(s *Session) *cobra.Command {
	var urls []string
	var learner bool
	cmd := s.command("add NAME", "Add a member, which is started afterwards", cobra.ExactArgs(1), func(args []string) (request, error) {
		if len(urls) == 0 {
			return nil, usagef("--peer-urls is missing: where the other members reach the new one")
		}
		return func(ctx context.Context, c *client.Client) error {
			resp, err := c.AddMember(ctx, urls, learner)
			if err != nil {
				return err
			}
			return s.print(addedOutput(args[0], resp))
		}, nil
	})
	cmd.Example = "  raft-cli member add node4 --peer-urls http://10.0.0.4:2380 --learner"
	cmd.Flags().StringSliceVar(&urls, "peer-urls", nil, "URLs where the other members reach the new one, separated by commas")
	cmd.Flags().BoolVar(&learner, "learner", false, "add it as a learner, which does not vote until it is promoted")
	return cmd
}

func addedOutput(name string, resp *pb.MemberAddResponse) output {
	o := membersOutput(&pb.MemberListResponse{Members: resp.GetMembers()})
	o.json = resp
	o.simple = func(b *bytes.Buffer) {
		id, as := resp.GetMember().GetID(), ""
		if resp.GetMember().GetIsLearner() {
			as = "as learner "
		}
		fmt.Fprintf(b, "Member %16x added %sto cluster %16x\n", id, as, resp.GetHeader().GetClusterId())
		var initial []string
		for _, m := range resp.GetMembers() {
			n := m.GetName()
			if m.GetID() == id {
				n = name
			}
			for _, u := range m.GetPeerURLs() {
				initial = append(initial, n+"="+u)
			}
		}
		slices.Sort(initial)
		fmt.Fprintf(b, "\nETCD_NAME=%q\nETCD_INITIAL_CLUSTER=%q\nETCD_INITIAL_ADVERTISE_PEER_URLS=%q\nETCD_INITIAL_CLUSTER_STATE=\"existing\"\n",
			name, strings.Join(initial, ","), strings.Join(resp.GetMember().GetPeerURLs(), ","))
	}
	return o
}

func memberRemoveCommand(s *Session) *cobra.Command {
	var force bool
	cmd := s.memberVerb("remove MEMBER", "Remove a member for ever", "removed from", func(ctx context.Context, c *client.Client, id uint64) (*pb.ResponseHeader, []*pb.Member, any, error) {
		resp, err := c.RemoveMember(ctx, id, force)
		return resp.GetHeader(), resp.GetMembers(), resp, err
	})
	cmd.Example = "  raft-cli member remove 4\n  raft-cli member remove 8e9e05c52164694d"
	cmd.Flags().BoolVar(&force, "force", false, "also where the rest would have no majority; the last voter is never removed")
	return cmd
}

func memberUpdateCommand(s *Session) *cobra.Command {
	var urls []string
	cmd := s.memberVerb("update MEMBER", "Change where the other members reach a member", "updated in", func(ctx context.Context, c *client.Client, id uint64) (*pb.ResponseHeader, []*pb.Member, any, error) {
		if len(urls) == 0 {
			return nil, nil, nil, usagef("--peer-urls is missing: where the other members reach this one from now on")
		}
		resp, err := c.UpdateMember(ctx, id, urls)
		return resp.GetHeader(), resp.GetMembers(), resp, err
	})
	cmd.Example = "  raft-cli member update node2 --peer-urls http://10.0.0.7:2380"
	cmd.Flags().StringSliceVar(&urls, "peer-urls", nil, "URLs where the other members reach it, separated by commas")
	return cmd
}

func memberPromoteCommand(s *Session) *cobra.Command {
	cmd := s.memberVerb("promote MEMBER", "Make a learner that has caught up a voter", "promoted in", func(ctx context.Context, c *client.Client, id uint64) (*pb.ResponseHeader, []*pb.Member, any, error) {
		resp, err := c.PromoteMember(ctx, id)
		return resp.GetHeader(), resp.GetMembers(), resp, err
	})
	cmd.Example = "  raft-cli member promote node4"
	return cmd
}

// memberVerb is a verb that does something to one member.
func (s *Session) memberVerb(use, short, done string,
	do func(ctx context.Context, c *client.Client, id uint64) (*pb.ResponseHeader, []*pb.Member, any, error)) *cobra.Command {
	cmd := s.command(use, short, cobra.ExactArgs(1), func(args []string) (request, error) {
		return func(ctx context.Context, c *client.Client) error {
			id, cluster, err := findMember(ctx, c, args[0])
			if err != nil {
				return err
			}
			_, members, resp, err := do(ctx, c, id)
			if err != nil {
				return err
			}
			o := membersOutput(&pb.MemberListResponse{Members: members})
			o.json = resp
			o.simple = func(b *bytes.Buffer) { fmt.Fprintf(b, "Member %16x %s cluster %16x\n", id, done, cluster) }
			return s.print(o)
		}, nil
	})
	cmd.ValidArgsFunction = s.completeMember()
	return cmd
}

// findMember is the member of a name, or of an id in hexadecimal: what is no
// member's name or id goes to the cluster as an id, which says what it thinks.
func findMember(ctx context.Context, c *client.Client, arg string) (id, cluster uint64, err error) {
	list, answer, err := c.Members(ctx, false)
	if err != nil {
		return 0, 0, err
	}
	id, notHex := strconv.ParseUint(arg, 16, 64)
	var named []uint64
	for _, m := range list.GetMembers() {
		if notHex == nil && m.GetID() == id {
			return id, answer.ClusterID, nil
		}
		if m.GetName() == arg {
			named = append(named, m.GetID())
		}
	}
	switch {
	case len(named) == 1:
		return named[0], answer.ClusterID, nil
	case len(named) > 1:
		return 0, 0, usagef("%d members have the name %q; give the id", len(named), arg)
	case notHex != nil:
		return 0, 0, usagef("bad member ID arg (%v), expecting ID in Hex, or the name of a member", notHex)
	}
	return id, answer.ClusterID, nil
}

func moveLeaderCommand(s *Session) *cobra.Command {
	cmd := s.command("move-leader MEMBER", "Move leadership to another member, named by id or name", cobra.ExactArgs(1), func(args []string) (request, error) {
		return func(ctx context.Context, c *client.Client) error {
			to, _, err := findMember(ctx, c, args[0])
			if err != nil {
				return err
			}
			from, err := c.MoveLeader(ctx, to)
			if err != nil {
				return err
			}
			ids := []string{strconv.FormatUint(from, 16), strconv.FormatUint(to, 16)}
			return s.print(output{
				json: map[string]string{"from": ids[0], "to": ids[1]}, head: []string{"FROM", "TO"}, rows: [][]string{ids},
				simple: func(b *bytes.Buffer) { fmt.Fprintf(b, "Leadership transferred from %s to %s\n", ids[0], ids[1]) },
			})
		}, nil
	})
	cmd.Example = "  raft-cli move-leader 2\n  raft-cli move-leader 8e9e05c52164694d"
	cmd.ValidArgsFunction = s.completeMember()
	return cmd
}
