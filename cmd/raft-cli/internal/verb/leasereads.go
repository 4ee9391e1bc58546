package verb

import (
	"bytes"
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"raftkv/client"
)

func leaseReadsCommand(s *Session) *cobra.Command {
	set := func(use, short string, on bool) *cobra.Command {
		cmd := s.command(use, short, cobra.NoArgs, func([]string) (request, error) {
			return func(ctx context.Context, c *client.Client) error {
				promise, err := c.SetLeaseReads(ctx, on)
				if err != nil {
					return err
				}
				return s.print(leaseReadsOutput(leaseReadsJSON{On: promise > 0, PromiseMS: promise.Milliseconds()}))
			}, nil
		})
		cmd.Example = "  raft-cli lease-reads " + use
		return cmd
	}
	status := s.command("status", "Whether they are on, and whether the leader has a lease", cobra.NoArgs, func([]string) (request, error) {
		return s.leaseReadsStatus, nil
	})
	status.Example = "  raft-cli lease-reads status"
	cmd := family("lease-reads", "Let the leader answer reads by itself, for a slower failover",
		set("on", "Switch lease reads on, for the whole cluster", true), set("off", "Switch lease reads off", false), status)
	cmd.Long = `Let the leader answer reads by itself, for a slower failover. Reads stay
linearizable as long as the members' clocks go at about the same rate and go on
while a machine stands still. While lease reads are on, voters promise their leader,
again and again, not to help another to win: a leader that dies is replaced only
when the promises have run out.`
	cmd.Example = "  raft-cli lease-reads on"
	return cmd
}

type leaseReadsJSON struct {
	On        bool  `json:"on"`
	PromiseMS int64 `json:"promise_ms,omitempty"`
	// Leader has a lease; only status says so.
	Leader string `json:"leader,omitempty"`
	Held   *bool  `json:"held,omitempty"`
}

// leaseReadsStatus asks the leader, or who is furthest.
func (s *Session) leaseReadsStatus(ctx context.Context, c *client.Client) error {
	st, err := c.ClusterStatus(ctx)
	if err != nil {
		return err
	}
	leader := st.Leader()
	from := leader
	if from == nil {
		from = furthest(st)
	}
	j := leaseReadsJSON{On: from.GetLeasePromiseMs() > 0, PromiseMS: int64(from.GetLeasePromiseMs())}
	if leader != nil {
		j.Leader, j.Held = leader.GetName(), new(leader.GetLeaseHeld())
	}
	return s.print(leaseReadsOutput(j))
}

func leaseReadsOutput(j leaseReadsJSON) output {
	state, promise := "off", time.Duration(j.PromiseMS)*time.Millisecond
	if j.On {
		state = "on"
	}
	held := ""
	if j.Held != nil {
		held = strconv.FormatBool(*j.Held)
	}
	return output{
		json: j, head: []string{"LEASE READS", "PROMISE", "LEADER", "HAS A LEASE"}, rows: [][]string{{state, promise.String(), j.Leader, held}},
		simple: func(b *bytes.Buffer) {
			fmt.Fprintf(b, "Lease reads: %s\n", state)
			if j.On {
				fmt.Fprintf(b, "  Promise: %v\n", promise)
			}
			switch {
			case j.Held == nil || !j.On:
			case *j.Held:
				fmt.Fprintf(b, "  Leader: node %s, which has a lease\n", j.Leader)
			default:
				fmt.Fprintf(b, "  Leader: node %s, which has no lease\n", j.Leader)
			}
		},
	}
}
