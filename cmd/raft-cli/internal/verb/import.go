package verb

import (
	"context"

	"github.com/spf13/cobra"

	"raftkv/operator"
)

const importLong = `Make a data directory for one member of a new cluster from a snapshot of etcd 3.5
to 3.7, with revisions, versions, deletions and leases as they were: HashKV is
etcd's. Do so on every member with the same FILE and the same cluster list; then
start them with that list.

Users and roles are kept as etcd wrote them. FILE comes from etcdctl snapshot
save, whose checksum is verified; a copy of a stopped member's member/snap/db
has none and needs --skip-hash-check, which checks every page instead.`

func importCommand(s *Session) *cobra.Command {
	var flags targetFlags
	var from string
	var o operator.ImportOptions
	cmd := s.localCommand("import --from-etcd FILE", "Make a data directory of a new cluster from a snapshot of etcd", cobra.NoArgs,
		func(ctx context.Context, _ []string) error {
			if from == "" {
				return usagef("--from-etcd FILE is missing")
			}
			t, err := flags.target()
			if err != nil {
				return err
			}
			r, err := operator.Import(ctx, from, t, o)
			if err != nil {
				return err
			}
			return s.printMade("Imported", from, t, r)
		})
	cmd.Long = importLong
	cmd.Example = `  raft-cli import --from-etcd etcd.db --data-dir node1.kv --name node1 \
    --initial-cluster node1=http://10.0.0.1:2380,node2=http://10.0.0.2:2380,node3=http://10.0.0.3:2380`
	cmd.Flags().StringVar(&from, "from-etcd", "", "snapshot or database of etcd")
	cmd.Flags().BoolVar(&o.SkipHashCheck, "skip-hash-check", false, "the file is a bare database, without a checksum at its end")
	flags.register(cmd)
	return cmd
}
