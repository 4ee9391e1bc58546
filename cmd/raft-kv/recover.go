package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"raftkv/operator"
	"raftkv/server"
)

const recoverLong = `For a cluster that has lost its majority for ever: make a cluster of one member of
what this data directory has left. First see to it that no other member of the
old cluster runs, and take the directory of the member that has the most: run
this on each of them and answer "no" to see how far it is.

The new cluster has the state and all entries that this member knows to be
committed. Entries of which it does not know that are dropped, as etcd does,
unless --keep-uncommitted is given; among them may be writes that were
acknowledged to clients. The old directory is kept beside the new one, inside
the data directory. Add other members to the new cluster with empty directories.

The new log is made inside the data directory. To have it elsewhere, give
--wal-dir and an empty directory, here and at the start.`

func recoverCommand() *cobra.Command {
	r := operator.Recovery{}
	var force, yes bool
	cmd := &cobra.Command{
		Use: "recover --force-new-cluster --data-dir DIR", Short: "Make a cluster of one member after the majority was lost", Long: recoverLong,
		Args: refuseArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if !force || r.DataDir == "" {
				return usageError{errors.New("recover needs --data-dir and, since it makes a new cluster, --force-new-cluster")}
			}
			return runRecovery(cmd, &r, yes)
		},
	}
	cmd.Flags().BoolVar(&force, "force-new-cluster", false, "say that this is what you want")
	cmd.Flags().BoolVar(&yes, "yes", false, "do not ask")
	cmd.Flags().StringVar(&r.DataDir, "data-dir", "", "data directory of the stopped member")
	cmd.Flags().StringVar(&r.WALDir, "wal-dir", "", "empty directory for the new log (default: in the data directory)")
	cmd.Flags().BoolVar(&r.KeepUncommitted, "keep-uncommitted", false, "keep entries that may not have been committed")
	return cmd
}

func runRecovery(cmd *cobra.Command, r *operator.Recovery, yes bool) error {
	out := cmd.OutOrStdout()
	plan, err := r.Plan(cmd.Context())
	if err != nil {
		return err
	}
	tellPlan(out, r, &plan)
	if plan.Alone && !plan.Interrupted {
		return fmt.Errorf("nothing was done: %w; start it as it is", operator.ErrAlone)
	}
	if !yes {
		if err := confirmed(cmd.InOrStdin(), out); err != nil {
			return err
		}
	}
	done, err := r.Run(cmd.Context())
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "Done: cluster %x, member %x. The old directory is %s\n", done.NewClusterID, done.NewMemberID, done.Kept)
	if r.WALDir == "" {
		fmt.Fprintf(out, "Start it as before; if that was with --wal-dir, without it: the log is in the data directory now.\n")
	} else {
		fmt.Fprintf(out, "Start it with --wal-dir %s.\n", r.WALDir)
	}
	return nil
}

func tellPlan(out io.Writer, r *operator.Recovery, plan *operator.RecoveryPlan) {
	fmt.Fprintf(out, "%s: node %s of %d in cluster %x\n", r.DataDir, plan.Name, len(plan.Members), plan.ClusterID)
	fmt.Fprintf(out, "  state at index %d, revision %d; known to be committed: up to %d; last entry: %d\n", plan.Applied, plan.Revision, plan.Committed, plan.Last)
	switch {
	case plan.Interrupted:
		fmt.Fprintf(out, "An earlier recovery of it was interrupted shortly before its end. This puts the new directory into its place.\n")
		return
	case plan.Alone:
		return
	case plan.Uncommitted() > 0 && r.KeepUncommitted:
		fmt.Fprintf(out, "  entries behind that, which are kept: %d\n", plan.Uncommitted())
	case plan.Uncommitted() > 0:
		fmt.Fprintf(out, "  entries behind that, which are DROPPED: %d\n", plan.Uncommitted())
	}
	fmt.Fprintf(out, "This makes it the only member of a new cluster. The other members can never join it with the data they have.\nThe directory as it is now is kept.\n")
}

func confirmed(in io.Reader, out io.Writer) error {
	fmt.Fprint(out, `Go on? Type "yes": `)
	line, err := bufio.NewReader(io.LimitReader(in, 100)).ReadString('\n')
	if strings.TrimSpace(line) != "yes" {
		if err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		return errors.New("nothing was done")
	}
	return nil
}

// forceNewCluster does what etcd's flag asks for, before the member starts. Like
// etcd's it has no meaning without data; a member that is alone already is left
// as it is, so that a flag that stays set harms nothing.
func forceNewCluster(ctx context.Context, cfg server.Config) error {
	if cfg.Memory {
		return nil
	}
	entries, err := os.ReadDir(cfg.DataDir)
	if errors.Is(err, os.ErrNotExist) || err == nil && len(entries) == 0 {
		return nil
	}
	if err != nil {
		return fmt.Errorf("look into the data directory: %w", err)
	}
	r := operator.Recovery{DataDir: cfg.DataDir, Logger: cfg.Logger}
	switch plan, err := r.Plan(ctx); {
	case err != nil:
		return err
	case plan.Alone && !plan.Interrupted:
		return nil
	case cfg.WALDir != "":
		return errors.New("--force-new-cluster does not go with --wal-dir, which holds the old log; use raft-kv recover, which takes an empty --wal-dir for the new one")
	}
	done, err := r.Run(ctx)
	if err != nil {
		return err
	}
	cfg.Logger.Warn("forced a new cluster of this member alone: other members of the old one must not run any more; " +
		fmt.Sprintf("old cluster %x, new cluster %x, %d uncommitted entries dropped, old directory kept in %s",
			done.ClusterID, done.NewClusterID, done.Dropped, done.Kept))
	return nil
}
