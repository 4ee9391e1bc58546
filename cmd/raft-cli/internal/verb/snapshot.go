package verb

import (
	"bytes"
	"context"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"github.com/cheggaaa/pb/v3"
	"github.com/mattn/go-isatty"
	"github.com/spf13/cobra"

	"raftkv/client"
	"raftkv/operator"
)

func snapshotCommand(s *Session) *cobra.Command {
	cmd := family("snapshot", "Save the store to a file, look at such a file, make a data directory from it",
		saveCommand(s), snapshotStatusCommand(s), restoreCommand(s))
	cmd.Example = "  raft-cli snapshot save backup.db\n  raft-cli snapshot status backup.db"
	return cmd
}

func saveCommand(s *Session) *cobra.Command {
	cmd := s.unlimitedCommand("save FILE", "Save the store to a file, while the cluster serves", cobra.ExactArgs(1),
		func(args []string) (request, error) {
			return func(ctx context.Context, c *client.Client) error { return s.save(ctx, c, args[0]) }, nil
		})
	cmd.Long = `Save the store as one member has it now to FILE. The member may be any that
lives, with or without a majority. FILE gets its name only once all of it is
there, durable and verified; until then it is FILE.part.`
	cmd.Example = "  raft-cli snapshot save backup.db"
	cmd.ValidArgsFunction = nil // files
	return cmd
}

func (s *Session) save(ctx context.Context, c *client.Client, path string) error {
	bar := s.progress()
	var from client.Answer
	err := operator.SaveFile(ctx, path, func(w io.Writer) (err error) {
		from, err = c.Snapshot(ctx, w, bar.set)
		return err
	})
	bar.finish()
	if err != nil {
		return err
	}
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	j := saveJSON{File: path, SizeBytes: info.Size(), Endpoint: from.Endpoint}
	return s.print(output{
		json: j, head: []string{"FILE", "SIZE", "ENDPOINT"}, rows: [][]string{{j.File, strconv.FormatInt(j.SizeBytes, 10), j.Endpoint}},
		simple: func(b *bytes.Buffer) {
			fmt.Fprintf(b, "Snapshot saved to %s (%d bytes, verified)\n", j.File, j.SizeBytes)
		},
	})
}

type saveJSON struct {
	File      string `json:"file"`
	SizeBytes int64  `json:"size_bytes"`
	Endpoint  string `json:"endpoint"`
}

// progressBar shows how far something is, on a terminal; elsewhere it is quiet.
type progressBar struct {
	out io.Writer // nil: quiet
	bar *pb.ProgressBar
}

func (s *Session) progress() *progressBar {
	if f, ok := s.Err.(*os.File); ok && isatty.IsTerminal(f.Fd()) {
		return &progressBar{out: s.Err}
	}
	return &progressBar{}
}

func (p *progressBar) set(done, total int64) {
	if p.out == nil {
		return
	}
	if p.bar == nil {
		p.bar = pb.Full.New(int(total)).Set(pb.Bytes, true).SetWriter(p.out).Start()
	}
	p.bar.SetCurrent(done)
}

func (p *progressBar) finish() {
	if p.bar != nil {
		p.bar.Finish()
	}
}

// ofFile reports the reading of a file.
func (p *progressBar) ofFile(path string) func(int64) {
	total := int64(0)
	if info, err := os.Stat(path); err == nil {
		total = info.Size()
	}
	return func(done int64) { p.set(done, total) }
}

// localCommand makes a verb that works on files and needs no cluster.
func (s *Session) localCommand(use, short string, args cobra.PositionalArgs, run func(ctx context.Context, args []string) error) *cobra.Command {
	return &cobra.Command{
		Use: use, Short: short, Args: args,
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx, stop := s.Interrupts(cmd.Context())
			defer stop()
			return failure(run(ctx, args))
		},
	}
}

func snapshotStatusCommand(s *Session) *cobra.Command {
	cmd := s.localCommand("status FILE", "Verify a snapshot file and tell what it holds", cobra.ExactArgs(1),
		func(ctx context.Context, args []string) error {
			bar := s.progress()
			st, err := operator.Status(ctx, args[0], bar.ofFile(args[0]))
			bar.finish()
			if err != nil {
				return err
			}
			return s.print(snapshotOutput(st))
		})
	cmd.Example = "  raft-cli snapshot status backup.db\n  raft-cli snapshot status backup.db -w json"
	return cmd
}

type snapshotJSON struct {
	ClusterID         string   `json:"cluster_id"`
	MemberID          string   `json:"member_id"`
	Index             uint64   `json:"index"`
	Term              uint64   `json:"term"`
	Revision          int64    `json:"revision"`
	CompactedRevision int64    `json:"compacted_revision"`
	Keys              int64    `json:"keys"`
	SizeBytes         int64    `json:"size_bytes"`
	HashKV            uint32   `json:"hash_kv"`
	SHA256            string   `json:"sha256"`
	Version           string   `json:"version"`
	Members           []string `json:"members"`
	Alarms            []string `json:"alarms,omitempty"`
}

func snapshotOutput(st operator.SnapshotStatus) output {
	j := snapshotJSON{
		ClusterID: strconv.FormatUint(st.ClusterID, 16), MemberID: strconv.FormatUint(st.MemberID, 16),
		Index: st.Index, Term: st.Term, Revision: st.Revision, CompactedRevision: st.CompactedRevision,
		Keys: st.Keys, SizeBytes: st.SizeBytes, HashKV: st.HashKV, SHA256: hex.EncodeToString(st.SHA256),
		Version: st.Version, Alarms: st.Alarms,
	}
	for _, m := range st.Members {
		j.Members = append(j.Members, m.Name)
	}
	return output{
		json: j,
		head: []string{"CLUSTER ID", "REVISION", "KEYS", "SIZE", "HASH"},
		rows: [][]string{{j.ClusterID, fmt.Sprint(j.Revision), fmt.Sprint(j.Keys), fmt.Sprint(j.SizeBytes), fmt.Sprintf("%08x", j.HashKV)}},
		simple: func(b *bytes.Buffer) {
			fmt.Fprintf(b, "Cluster ID:  %s\nRevision:    %d\nKeys:        %d\nSize:        %d bytes\nHash:        %08x\n",
				j.ClusterID, j.Revision, j.Keys, j.SizeBytes, j.HashKV)
			fmt.Fprintf(b, "Log index:   %d (term %d)\nSHA-256:     %s (verified)\n", j.Index, j.Term, j.SHA256)
			for _, a := range j.Alarms {
				fmt.Fprintf(b, "Alarm:       %s\n", a)
			}
		},
	}
}

// targetFlags say for which member a data directory is made, as raft-kv's own
// flags do.
type targetFlags struct {
	id                           int
	cluster, name, initial, data string
	token, walDir                string
}

func (f *targetFlags) register(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.data, "data-dir", "", "data directory to make (default as raft-kv's: raft-kv-ID, or NAME.raft-kv)")
	cmd.Flags().StringVar(&f.walDir, "wal-dir", "", "where the log goes, an empty directory; start the member with the same (default: in the data directory)")
	cmd.Flags().IntVar(&f.id, "id", 0, "short form: number of this node in --cluster, from 1")
	cmd.Flags().StringVar(&f.cluster, "cluster", "", "short form: host:port of every node of the new cluster, comma separated (https://host:port with TLS)")
	cmd.Flags().StringVar(&f.name, "name", "default", "name of this member")
	cmd.Flags().StringVar(&f.initial, "initial-cluster", "", "name=peer-url of every member of the new cluster, comma separated (default: this one alone, at http://localhost:2380)")
	cmd.Flags().StringVar(&f.token, "initial-cluster-token", "raft-kv-cluster", "tells clusters apart that are made from the same file")
}

// target translates the flags. Its errors are about usage.
func (f *targetFlags) target() (operator.Target, error) {
	t := operator.Target{DataDir: f.data, WALDir: f.walDir, Name: f.name, Token: f.token}
	switch {
	case f.id != 0 || f.cluster != "":
		addresses := strings.Split(f.cluster, ",")
		if f.initial != "" || f.cluster == "" || f.id < 1 || f.id > len(addresses) {
			return t, usagef("--id and --cluster go together, --id counts the nodes of --cluster from 1, and --initial-cluster is the other form")
		}
		for i, a := range addresses {
			if !strings.Contains(a, "://") {
				a = "http://" + a
			}
			if _, err := client.ParseEndpoint(a); err != nil {
				return t, usagef("--cluster: %v", err)
			}
			t.Cluster = append(t.Cluster, operator.Peer{Name: strconv.Itoa(i + 1), PeerURLs: []string{a}})
		}
		t.Name = strconv.Itoa(f.id)
		if t.DataDir == "" {
			t.DataDir = "raft-kv-" + t.Name
		}
	case f.initial == "":
		t.Cluster = []operator.Peer{{Name: f.name, PeerURLs: []string{"http://localhost:2380"}}}
	default:
		if err := f.longForm(&t); err != nil {
			return t, err
		}
	}
	if t.DataDir == "" {
		t.DataDir = t.Name + ".raft-kv"
	}
	if err := t.Validate(); err != nil {
		return t, &UsageError{err}
	}
	return t, nil
}

func (f *targetFlags) longForm(t *operator.Target) error {
	place := map[string]int{}
	for item := range strings.SplitSeq(f.initial, ",") {
		name, url, ok := strings.Cut(strings.TrimSpace(item), "=")
		if !ok || name == "" || url == "" {
			return usagef("--initial-cluster: %q is not name=url", item)
		}
		i, known := place[name]
		if !known {
			i = len(t.Cluster)
			place[name] = i
			t.Cluster = append(t.Cluster, operator.Peer{Name: name})
		}
		t.Cluster[i].PeerURLs = append(t.Cluster[i].PeerURLs, url)
	}
	return nil
}

const restoreLong = `Make a data directory for one member of a new cluster from a snapshot file. Do
so on every member with the same FILE and the same cluster list; then start them
with that list. The new cluster has an identity of its own.

Its revision is raised by --bump-revision and what was before is compacted, so
that watches and caches which have seen more of the lost cluster than the
snapshot holds begin anew instead of missing changes. --keep-revision goes on at
the snapshot's revision, with its history.`

func restoreCommand(s *Session) *cobra.Command {
	var flags targetFlags
	var bump int64
	var keep bool
	cmd := s.localCommand("restore FILE", "Make a data directory of a new cluster from a snapshot file", cobra.ExactArgs(1), nil)
	cmd.Long = restoreLong
	cmd.Example = "  raft-cli snapshot restore backup.db --id 1 --cluster host1:8001,host2:8001,host3:8001"
	cmd.Flags().Int64Var(&bump, "bump-revision", operator.DefaultBumpRevision, "how much newer than the snapshot the first revision is")
	cmd.Flags().BoolVar(&keep, "keep-revision", false, "go on at the revision of the snapshot, and keep its history")
	flags.register(cmd)
	cmd.RunE = s.localCommand("", "", nil, func(ctx context.Context, args []string) error {
		t, err := flags.target()
		switch {
		case err != nil:
			return err
		case keep && cmd.Flags().Changed("bump-revision"):
			return usagef("--keep-revision and --bump-revision contradict each other")
		case bump < 0:
			return usagef("--bump-revision %d is negative", bump)
		case keep:
			bump = 0
		}
		bar := s.progress()
		r, err := operator.Restore(ctx, args[0], t, operator.RestoreOptions{BumpRevision: bump, KeepHistory: keep, Progress: bar.ofFile(args[0])})
		bar.finish()
		if err != nil {
			return err
		}
		return s.printMade("Restored", args[0], t, r)
	}).RunE
	return cmd
}

type madeJSON struct {
	DataDir   string   `json:"data_dir"`
	Name      string   `json:"name"`
	ClusterID string   `json:"cluster_id"`
	MemberID  string   `json:"member_id"`
	Revision  int64    `json:"revision"`
	Warnings  []string `json:"warnings,omitempty"`
}

// printMade tells of a data directory that was made.
func (s *Session) printMade(what, from string, t operator.Target, r operator.Restored) error {
	j := madeJSON{
		DataDir: t.DataDir, Name: t.Name, ClusterID: strconv.FormatUint(r.ClusterID, 16), MemberID: strconv.FormatUint(r.MemberID, 16),
		Revision: r.Revision, Warnings: r.Warnings,
	}
	for _, w := range r.Warnings {
		if err := s.remark("%s", w); err != nil {
			return err
		}
	}
	return s.print(output{
		json: j, head: []string{"DATA DIR", "NAME", "CLUSTER ID", "MEMBER ID", "REVISION"},
		rows: [][]string{{j.DataDir, j.Name, j.ClusterID, j.MemberID, strconv.FormatInt(j.Revision, 10)}},
		simple: func(b *bytes.Buffer) {
			fmt.Fprintf(b, "%s %s into %s: node %s of %d, cluster %s, revision %d\n", what, from, j.DataDir, j.Name, len(t.Cluster), j.ClusterID, j.Revision)
		},
	})
}
