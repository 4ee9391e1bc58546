package verb

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

// ErrorText is what the user is told about the error that cmd returned: for
// wrong usage also how it is used.
func ErrorText(cmd *cobra.Command, err error) string {
	if ExitCode(err) != 2 {
		return err.Error()
	}
	var b strings.Builder
	fmt.Fprintln(&b, err)
	if cmd.HasParent() {
		fmt.Fprintf(&b, "usage: %s\n", strings.TrimSpace(cmd.UseLine()))
	}
	help := "help" // in a shell, whose command line has no name
	if path := strings.TrimSpace(cmd.CommandPath()); path != "" {
		help = path + " --help"
	}
	fmt.Fprintf(&b, "See '%s'.", help)
	return b.String()
}

// greetingTimeout is how long a shell waits for the cluster before its first
// prompt.
const greetingTimeout = 2 * time.Second

// Greeting is a line on the cluster, or on why it does not answer.
func (s *Session) Greeting(ctx context.Context) string {
	c, err := s.Connect()
	if err != nil {
		return err.Error()
	}
	ctx, cancel := context.WithTimeout(ctx, greetingTimeout)
	defer cancel()
	st, err := c.ClusterStatus(ctx)
	if err != nil {
		return "The cluster does not answer: " + err.Error()
	}
	leader := "no leader"
	for _, m := range st.Members {
		if l := st.Leader(); l != nil && m.Member.GetId() == l.GetMemberId() {
			leader = "node " + label(m) + " leads"
		}
	}
	return fmt.Sprintf("Cluster %x: %s, %s.", st.ClusterID, plural(int64(len(st.Members)), "member"), leader)
}
