package verb

import (
	"bytes"
	"context"
	"fmt"
	"strconv"

	"github.com/spf13/cobra"

	"raftkv/client"
)

const compactLong = `Forget what was before a revision: from then on it cannot be read or watched.
The newest value of every key stays. raft-kv gives the space back in the
background; with --physical the command waits for it, without a time limit unless
--timeout gives one. See --auto-compaction-retention of raft-kv for doing it
regularly.`

func compactCommand(s *Session) *cobra.Command {
	var physical bool
	limited := func(cmd *cobra.Command) bool { return !physical || cmd.Flags().Changed("timeout") }
	cmd := s.commandWithin(limited, "compact REVISION", "Forget what was before a revision", cobra.ExactArgs(1),
		func(args []string) (request, error) {
			revision, err := strconv.ParseInt(args[0], 10, 64)
			if err != nil || revision < 1 {
				return nil, usagef("%q is not a revision, a number from 1; get -w json tells the present one", args[0])
			}
			return func(ctx context.Context, c *client.Client) error {
				resp, _, err := c.Compact(ctx, revision, physical)
				if err != nil {
					return err
				}
				return s.print(output{
					json: resp,
					head: []string{"COMPACTED REVISION"}, rows: [][]string{{strconv.FormatInt(revision, 10)}},
					simple: func(b *bytes.Buffer) { fmt.Fprintf(b, "compacted revision %d\n", revision) },
				})
			}, nil
		})
	cmd.Long = compactLong
	cmd.Aliases = []string{"compaction"}
	cmd.Example = "  raft-cli compact 1000\n  raft-cli compact --physical 1000"
	cmd.Flags().BoolVar(&physical, "physical", false, "wait until the space can be used again")
	return cmd
}
