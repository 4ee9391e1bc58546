package verb

import (
	"slices"

	"github.com/spf13/cobra"
)

// GroupsOf are the headings under which the help lists the verbs, in order.
func GroupsOf(verbs []*cobra.Command) []*cobra.Group {
	all := []*cobra.Group{
		{ID: "data", Title: "Keys and values:"},
		{ID: "coordination", Title: "Leases, locks and elections:"},
		{ID: "cluster", Title: "The cluster and its members:"},
		{ID: "files", Title: "Snapshots and data directories:"},
		{ID: OtherGroup, Title: "Other:"},
	}
	return slices.DeleteFunc(all, func(g *cobra.Group) bool {
		return !slices.ContainsFunc(verbs, func(v *cobra.Command) bool { return v.GroupID == g.ID })
	})
}

// OtherGroup is the group of what is no request: help, completion, the shell.
const OtherGroup = "other"

func groupOf(verb string) string {
	switch verb {
	case "set", "get", "del", "append", "cas", "txn", "watch", "compact":
		return "data"
	case "lease", "lock", "elect":
		return "coordination"
	case "status", "members", "member", "move-leader", "defrag", "alarm", "lease-reads", "user", "role", "auth":
		return "cluster"
	case "snapshot", "import", "verify", "wal", "recover":
		return "files"
	}
	return OtherGroup
}

// grouped puts every verb into its group.
func grouped(verbs []*cobra.Command) []*cobra.Command {
	for _, v := range verbs {
		v.GroupID = groupOf(v.Name())
	}
	return verbs
}

// family is a verb that consists of others and does nothing by itself.
func family(use, short string, members ...*cobra.Command) *cobra.Command {
	cmd := &cobra.Command{
		Use: use, Short: short, Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return usagef("%s does nothing by itself: choose one of its commands", cmd.Name())
		},
	}
	cmd.AddCommand(members...)
	return cmd
}
