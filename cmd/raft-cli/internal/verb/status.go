package verb

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"slices"
	"strconv"

	"github.com/spf13/cobra"

	"raftkv/client"
	"raftkv/rpc/kvstream/kvpb"
)

func statusCommand(s *Session) *cobra.Command {
	cmd := s.command("status", "Show every member's role and progress", cobra.NoArgs,
		func([]string) (request, error) { return s.status, nil })
	cmd.Example = "  raft-cli status\n  raft-cli status -w table"
	cmd.Long = `Show every member's role and the length of its log; a star marks the leader.
Commit index and last applied are the leader's or, without a leader, those of
the member that is furthest. A member that cannot be reached is DOWN.`
	return cmd
}

func (s *Session) status(ctx context.Context, c *client.Client) error {
	st, err := c.ClusterStatus(ctx)
	if err != nil {
		return err
	}
	if err := s.print(statusOutput(st)); err != nil {
		return err
	}
	for _, address := range st.Strangers {
		if err := s.remark("(%s belongs to another cluster and is left out)", address); err != nil {
			return err
		}
	}
	return nil
}

// memberJSON is one member in the JSON of status. Ids are hexadecimal text:
// readers of JSON round numbers of 64 bits.
type memberJSON struct {
	ID           string `json:"id"`
	Name         string `json:"name"`
	Role         string `json:"role"`
	Leader       bool   `json:"leader"`
	Term         uint64 `json:"term,omitempty"`
	FirstIndex   uint64 `json:"first_index,omitempty"`
	LogEntries   uint64 `json:"log_entries"`
	CommitIndex  uint64 `json:"commit_index"`
	AppliedIndex uint64 `json:"applied_index"`
	Revision     int64  `json:"revision,omitempty"`
	DBSizeBytes  int64  `json:"db_size_bytes,omitempty"`
	Version      string `json:"version,omitempty"`
	// ClusterVersion gates what older programs do not know.
	ClusterVersion string   `json:"cluster_version,omitempty"`
	ClientURLs     []string `json:"client_urls,omitempty"`
	Error          string   `json:"error,omitempty"`

	Snapshots []transferJSON `json:"snapshots,omitempty"`
}

type statusJSON struct {
	ClusterID   string       `json:"cluster_id"`
	Members     []memberJSON `json:"members"`
	CommitIndex uint64       `json:"commit_index"`
	LastApplied uint64       `json:"last_applied"`
}

func statusOutput(st *client.ClusterStatus) output {
	leader := st.Leader()
	best := leader
	if best == nil {
		best = furthest(st)
	}
	j := statusJSON{
		ClusterID:   strconv.FormatUint(st.ClusterID, 16),
		CommitIndex: best.GetCommitIndex(),
		LastApplied: best.GetAppliedIndex(),
	}
	for _, m := range st.Members {
		j.Members = append(j.Members, memberToJSON(m, leader))
	}
	o := output{
		json:   j,
		head:   []string{"NODE", "ID", "ROLE", "LEADER", "TERM", "LOG", "COMMIT", "APPLIED", "DB SIZE", "VERSION"},
		simple: func(b *bytes.Buffer) { writeStatus(b, j) },
	}
	transferring := slices.ContainsFunc(j.Members, func(m memberJSON) bool { return len(m.Snapshots) > 0 })
	if transferring {
		o.head = append(o.head, "SNAPSHOT")
	}
	for _, m := range j.Members {
		row := []string{m.label(), m.ID, m.Role, strconv.FormatBool(m.Leader)}
		if m.Role == roleDown {
			row = append(row, "", "", "", "", "", "")
		} else {
			row = append(row,
				strconv.FormatUint(m.Term, 10), strconv.FormatUint(m.LogEntries, 10), strconv.FormatUint(m.CommitIndex, 10),
				strconv.FormatUint(m.AppliedIndex, 10), strconv.FormatInt(m.DBSizeBytes, 10), m.Version)
		}
		if transferring {
			row = append(row, transferCell(m.Snapshots))
		}
		o.rows = append(o.rows, row)
	}
	return o
}

// roleDown stands for the role of a member that cannot be reached.
const roleDown = "DOWN"

func memberToJSON(m client.MemberStatus, leader *kvpb.StatusResponse) memberJSON {
	j := memberJSON{
		ID:         strconv.FormatUint(m.Member.GetId(), 16),
		Name:       m.Member.GetName(),
		Role:       roleDown,
		ClientURLs: m.Member.GetClientUrls(),
	}
	if m.Status == nil {
		j.Error = m.Err.Error()
		return j
	}
	j.Role = m.Status.GetRole().String()
	j.Leader = m.Status == leader
	j.Term = m.Status.GetTerm()
	j.FirstIndex = m.Status.GetFirstIndex()
	j.LogEntries = m.Status.GetLastIndex()
	j.CommitIndex = m.Status.GetCommitIndex()
	j.AppliedIndex = m.Status.GetAppliedIndex()
	j.Revision = m.Status.GetRevision()
	j.DBSizeBytes = m.Status.GetDbSizeBytes()
	j.Version = m.Status.GetVersion()
	if v := m.Status.GetClusterVersion(); v != 0 {
		j.ClusterVersion = fmt.Sprintf("%d.%d.%d", v>>16, v>>8&0xff, v&0xff)
	}
	j.Snapshots = transfersToJSON(m.Status)
	return j
}

// label is the member's name; one that has not started yet has none.
func (m memberJSON) label() string { return cmp.Or(m.Name, m.ID) }

// furthest is the reachable member of the highest commit index.
func furthest(st *client.ClusterStatus) *kvpb.StatusResponse {
	var best *kvpb.StatusResponse
	for _, m := range st.Members {
		if m.Status != nil && (best == nil || m.Status.GetCommitIndex() > best.GetCommitIndex()) {
			best = m.Status
		}
	}
	return best
}

func writeStatus(b *bytes.Buffer, j statusJSON) {
	b.WriteString("Cluster Status:\n")
	for _, m := range j.Members {
		if m.Role == roleDown {
			fmt.Fprintf(b, "  Node %s: %s\n", m.label(), roleDown)
			continue
		}
		star := ""
		if m.Leader {
			star = " *"
		}
		fmt.Fprintf(b, "  Node %s: %-9s (log: %d entries)%s\n", m.label(), m.Role, m.LogEntries, star)
		for _, t := range m.Snapshots {
			fmt.Fprintf(b, "    %s\n", t.line())
		}
	}
	fmt.Fprintf(b, "  Commit index: %d\n  Last applied: %d\n", j.CommitIndex, j.LastApplied)
}
