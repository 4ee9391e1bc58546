package verb

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"

	"github.com/spf13/cobra"

	"raftkv/client"
	"raftkv/rpc/kvstream/kvpb"
)

const defragLong = `Members give disk space back by themselves, without a pause: nothing ever needs
defragmenting, and without --compact nothing is done.

With --compact each member, one after the other, writes all its files anew
without what was deleted and compacted away. It serves requests meanwhile, more
slowly. There is no time limit, unless --timeout gives one; an interrupt stops
the rewriting and harms nothing.`

func defragCommand(s *Session) *cobra.Command {
	var compact bool
	cmd := s.unlimitedCommand("defrag [MEMBER...]", "Make members give disk space back now (see --compact)", cobra.ArbitraryArgs,
		func(args []string) (request, error) {
			if !compact {
				if len(args) > 0 {
					return nil, usagef("without --compact defrag does nothing, on no member")
				}
				return func(context.Context, *client.Client) error { return s.print(nothingToDefragment()) }, nil
			}
			return func(ctx context.Context, c *client.Client) error { return s.defrag(ctx, c, args) }, nil
		})
	cmd.Long = defragLong
	cmd.Example = "  raft-cli defrag --compact\n  raft-cli defrag --compact 2"
	cmd.ValidArgsFunction = s.completeMember()
	cmd.Flags().BoolVar(&compact, "compact", false, "write the files of the members, by default of all, anew")
	return cmd
}

func nothingToDefragment() output {
	const text = "Nothing needs defragmenting: disk space comes back by itself (see raft-cli defrag --help)"
	return output{
		json: []defragJSON{}, head: defragHead(),
		simple: func(b *bytes.Buffer) { b.WriteString(text + "\n") },
	}
}

type defragJSON struct {
	ID          string `json:"id"`
	Name        string `json:"name"`
	BeforeBytes int64  `json:"before_bytes"`
	AfterBytes  int64  `json:"after_bytes"`
	Error       string `json:"error,omitempty"`
}

func defragHead() []string { return []string{"NODE", "ID", "BEFORE", "AFTER", "ERROR"} }

// defrag rewrites the members named, or all, one after the other. It goes on
// after a failure and reports all of them.
func (s *Session) defrag(ctx context.Context, c *client.Client, names []string) error {
	st, err := c.ClusterStatus(ctx)
	if err != nil {
		return err
	}
	members, err := chosen(st, names)
	if err != nil {
		return err
	}
	var results []defragJSON
	var faults []error
	for _, m := range members {
		r := defragJSON{ID: strconv.FormatUint(m.Member.GetId(), 16), Name: m.Member.GetName()}
		last, err := s.rewrite(ctx, c, m)
		if err != nil {
			r.Error = err.Error()
			faults = append(faults, fmt.Errorf("node %s: %w", label(m), err))
		} else {
			r.BeforeBytes, r.AfterBytes = last.GetBeforeBytes(), last.GetNowBytes()
		}
		results = append(results, r)
	}
	return errors.Join(append([]error{s.print(defragOutput(results))}, faults...)...)
}

// chosen are the members of those names, or all.
func chosen(st *client.ClusterStatus, names []string) ([]client.MemberStatus, error) {
	if len(names) == 0 {
		return st.Members, nil
	}
	var members []client.MemberStatus
	for _, name := range names {
		i := slices.IndexFunc(st.Members, func(m client.MemberStatus) bool { return label(m) == name })
		if i < 0 {
			return nil, usagef("there is no member %q; raft-cli members lists them", name)
		}
		members = append(members, st.Members[i])
	}
	return members, nil
}

func label(m client.MemberStatus) string { return memberToJSON(m, nil).label() }

// rewrite asks the member at its client URLs, the first that answers.
func (s *Session) rewrite(ctx context.Context, c *client.Client, m client.MemberStatus) (*kvpb.RewriteProgress, error) {
	if m.Status == nil {
		return nil, m.Err
	}
	var faults []error
	for _, url := range m.Member.GetClientUrls() {
		var told error
		last, err := c.RewriteAt(ctx, url, func(p *kvpb.RewriteProgress) {
			if !p.GetDone() {
				told = errors.Join(told, s.remark("(node %s: %s now, %s when it began)", label(m), mebibytes(p.GetNowBytes()), mebibytes(p.GetBeforeBytes())))
			}
		})
		if err == nil {
			return last, told
		}
		faults = append(faults, err)
		if ctx.Err() != nil {
			break
		}
	}
	if len(faults) == 0 {
		faults = append(faults, errors.New("it has not published client URLs"))
	}
	return nil, errors.Join(faults...)
}

func mebibytes(n int64) string { return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20)) }

func defragOutput(results []defragJSON) output {
	o := output{json: results, head: defragHead()}
	for _, r := range results {
		o.rows = append(o.rows, []string{r.Name, r.ID, strconv.FormatInt(r.BeforeBytes, 10), strconv.FormatInt(r.AfterBytes, 10), r.Error})
	}
	o.simple = func(b *bytes.Buffer) {
		for _, r := range results {
			if r.Error == "" {
				fmt.Fprintf(b, "Node %s: %s before, %s after\n", memberJSON{ID: r.ID, Name: r.Name}.label(), mebibytes(r.BeforeBytes), mebibytes(r.AfterBytes))
			}
		}
	}
	return o
}
