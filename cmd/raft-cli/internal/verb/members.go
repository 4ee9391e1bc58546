package verb

import (
	"bytes"
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/version"

	"raftkv/client"
)

func membersCommand(s *Session) *cobra.Command {
	var serializable bool
	cmd := s.command("members", "List the members of the cluster", cobra.NoArgs,
		func([]string) (request, error) {
			return func(ctx context.Context, c *client.Client) error {
				resp, _, err := c.Members(ctx, !serializable)
				if err != nil {
					return err
				}
				return s.print(membersOutput(resp))
			}, nil
		})
	cmd.Long = "List the members of the cluster: id, whether started, name, peer URLs, client URLs, whether a learner."
	cmd.Example = "  raft-cli members\n  raft-cli members -w table"
	cmd.Flags().BoolVar(&serializable, "serializable", false, "what one member knows, perhaps stale, without asking a majority")
	return cmd
}

func membersOutput(resp *pb.MemberListResponse) output {
	o := output{json: resp, head: []string{"ID", "STATUS", "NAME", "PEER URLS", "CLIENT URLS", "LEARNER"}}
	for _, m := range resp.GetMembers() {
		state := "started"
		if m.GetName() == "" {
			state = "unstarted"
		}
		o.rows = append(o.rows, []string{
			strconv.FormatUint(m.GetID(), 16), state, m.GetName(), strings.Join(m.GetPeerURLs(), ","),
			strings.Join(m.GetClientURLs(), ","), strconv.FormatBool(m.GetIsLearner()),
		})
	}
	o.simple = func(b *bytes.Buffer) {
		for _, row := range o.rows {
			b.WriteString(strings.Join(row, ", ") + "\n")
		}
	}
	return o
}

func versionCommand(s *Session) *cobra.Command {
	return &cobra.Command{
		Use:               "version",
		Short:             "Print the version of raft-cli",
		Example:           "  raft-cli version\n  raft-cli version -w json",
		Args:              cobra.NoArgs,
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(*cobra.Command, []string) error {
			return failure(s.print(output{
				json: map[string]string{"version": s.Version, "api_version": version.APIVersion},
				head: []string{"VERSION", "API VERSION"},
				rows: [][]string{{s.Version, version.APIVersion}},
				simple: func(b *bytes.Buffer) {
					fmt.Fprintf(b, "raft-cli version: %s\nAPI version: %s\n", s.Version, version.APIVersion)
				},
			}))
		},
	}
}
