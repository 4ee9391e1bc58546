package verb

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"raftkv/operator"
)

func verifyCommand(s *Session) *cobra.Command {
	var dir string
	cmd := s.localCommand("verify --data-dir DIR", "Check the data directory of a stopped member, every byte of it", cobra.NoArgs,
		func(ctx context.Context, _ []string) error {
			if dir == "" {
				return usagef("--data-dir is missing")
			}
			return s.verify(ctx, dir)
		})
	cmd.Long = `Check identity, log, tables and records of a data directory, and whether they
agree. Nothing is changed. The member must be stopped. The exit code is 1 if
anything is damaged.`
	cmd.Example = "  raft-cli verify --data-dir raft-kv-1"
	cmd.Flags().StringVar(&dir, "data-dir", "", "data directory of a stopped member")
	return cmd
}

type findingJSON struct {
	Check  string `json:"check"`
	OK     bool   `json:"ok"`
	Detail string `json:"detail,omitempty"`
	Error  string `json:"error,omitempty"`
}

func (s *Session) verify(ctx context.Context, dir string) error {
	findings := []findingJSON{}
	err := operator.VerifyDir(ctx, dir, func(f operator.Finding) {
		j := findingJSON{Check: f.What, OK: f.Err == nil, Detail: f.Detail}
		if f.Err != nil {
			j.Error = f.Err.Error()
		}
		findings = append(findings, j)
	})
	if err != nil && !errors.Is(err, operator.ErrDamaged) {
		return err
	}
	o := output{json: findings, head: []string{"CHECK", "OK", "FOUND"}, simple: func(b *bytes.Buffer) {
		for _, f := range findings {
			if f.OK {
				fmt.Fprintf(b, "ok       %-9s %s\n", f.Check, f.Detail)
			} else {
				fmt.Fprintf(b, "DAMAGED  %-9s %s\n", f.Check, f.Error)
			}
		}
	}}
	for _, f := range findings {
		o.rows = append(o.rows, []string{f.Check, fmt.Sprint(f.OK), f.Detail + f.Error})
	}
	return errors.Join(s.print(o), err)
}

func walCommand(s *Session) *cobra.Command {
	var dir string
	var raw bool
	dump := s.localCommand("dump --data-dir DIR", "Print the log, a line for each record", cobra.NoArgs,
		func(ctx context.Context, _ []string) error {
			if dir == "" {
				return usagef("--data-dir is missing")
			}
			out := bufio.NewWriter(s.Out)
			if !raw {
				return errors.Join(operator.DumpLog(out, dir), out.Flush())
			}
			warn := func(format string, args ...any) { fmt.Fprintf(s.Err, "raft-cli: "+format+"\n", args...) }
			return errors.Join(operator.DumpRaw(ctx, out, dir, warn), out.Flush())
		})
	dump.Example = "  raft-cli wal dump --data-dir raft-kv-1\n  raft-cli wal dump --raw --data-dir raft-kv-1"
	dump.Flags().StringVar(&dir, "data-dir", "", "data directory")
	dump.Flags().BoolVar(&raw, "raw", false, `"commit N", then "index term normal|conf base64" for each command, as a request of etcd`)
	cmd := family("wal", "Look into the log of a data directory", dump)
	cmd.Example = "  raft-cli wal dump --data-dir raft-kv-1"
	return cmd
}
