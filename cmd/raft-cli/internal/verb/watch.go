package verb

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"

	"raftkv/client"
)

// watchFlags are the flags of watch.
type watchFlags struct {
	rangeFlags
	rev            int64
	prevKV         bool
	progressNotify bool
	exec           string
}

func watchCommand(s *Session) *cobra.Command {
	var flags watchFlags
	var cmd *cobra.Command
	cmd = s.unlimitedCommand("watch KEY [RANGE-END] [-- COMMAND ARG...]", "Print what happens to keys", cobra.MinimumNArgs(1),
		func(args []string) (request, error) {
			var command []string
			if dash := cmd.ArgsLenAtDash(); dash >= 0 {
				args, command = args[:dash], args[dash:]
				if len(command) == 0 {
					return nil, usagef("no command behind --")
				}
			}
			return flags.request(s, args, command)
		})
	cmd.Long = `Print what happens to a key, or to the keys of a range, until interrupted.

Of each event the kind (PUT or DELETE), the key and the value are printed, on
lines of their own; with --prev-kv the key and value before come in between.
Broken connections and changes of the leader are bridged: every event is printed
once and in order.

With a command behind --, or a line for the shell given by --exec, that is run
for every event, one after the other. Its environment has, as with etcdctl,
ETCD_WATCH_REVISION, ETCD_WATCH_EVENT_TYPE, ETCD_WATCH_KEY and ETCD_WATCH_VALUE,
the last three in quotes; and RAFTKV_WATCH_REVISION, RAFTKV_WATCH_EVENT_TYPE,
RAFTKV_WATCH_KEY and RAFTKV_WATCH_VALUE as they are. If it fails, watch ends.`
	cmd.Example = `  raft-cli watch name
  raft-cli watch --prefix fruit/ --rev 7 --prev-kv
  raft-cli watch name --exec 'echo "$RAFTKV_WATCH_KEY is $RAFTKV_WATCH_VALUE"'`
	cmd.ValidArgsFunction = s.completeKeyAt(2)
	f := cmd.Flags()
	flags.rangeFlags.register(f)
	f.Int64Var(&flags.rev, "rev", 0, "begin at this revision (0: with what happens from now on)")
	f.BoolVar(&flags.prevKV, "prev-kv", false, "also what was there before")
	f.BoolVar(&flags.progressNotify, "progress-notify", false, "also how far the watch is, now and then while there is no event")
	f.StringVar(&flags.exec, "exec", "", "run this line in a shell for every event")
	return cmd
}

func (f *watchFlags) request(s *Session, args, command []string) (request, error) {
	switch {
	case len(args) == 0:
		return nil, usagef("no key was given")
	case len(args) > 2:
		return nil, usagef("a key and the end of a range at most, not %d arguments; a command goes behind --", len(args))
	case len(args) == 2 && f.rangeEnd != "":
		return nil, usagef("the end of the range is given twice")
	case f.rev < 0:
		return nil, usagef("--rev %d is negative", f.rev)
	case f.exec != "" && len(command) > 0:
		return nil, usagef("--exec and a command behind -- cannot be given together")
	case f.exec != "":
		command = []string{"/bin/sh", "-c", f.exec}
	}
	key, end, err := f.bounds(s, args)
	if err != nil {
		return nil, err
	}
	req := client.WatchRequest{Key: key, RangeEnd: end, Revision: f.rev, PrevKV: f.prevKV, Progress: f.progressNotify, Fragment: true}
	return func(ctx context.Context, c *client.Client) error {
		err := c.Watch(ctx, req, func(u client.Update) error { return s.showUpdate(ctx, u, command) })
		if ctx.Err() == context.Canceled {
			return nil // that is how a watch ends
		}
		return err
	}, nil
}

func (s *Session) showUpdate(ctx context.Context, u client.Update, command []string) error {
	header := &pb.ResponseHeader{ClusterId: u.ClusterID, MemberId: u.MemberID, RaftTerm: u.RaftTerm, Revision: u.Revision}
	o := output{json: &pb.WatchResponse{Header: header, Events: u.Events}}
	o.simple = func(b *bytes.Buffer) {
		if len(u.Events) == 0 {
			fmt.Fprintf(b, "progress notify: %d\n", u.Revision)
		}
		for _, e := range u.Events {
			s.writeEvent(b, e)
		}
	}
	o.head = []string{"EVENT", "KEY", "VALUE", "VERSION", "CREATED", "MODIFIED"}
	for _, e := range u.Events {
		kv := e.GetKv()
		o.rows = append(o.rows, []string{e.GetType().String(), s.cell(kv.GetKey()), s.cell(kv.GetValue()), strconv.FormatInt(kv.GetVersion(), 10),
			strconv.FormatInt(kv.GetCreateRevision(), 10), strconv.FormatInt(kv.GetModRevision(), 10)})
	}
	if err := s.print(o); err != nil {
		return err
	}
	for _, e := range u.Events {
		if err := s.runCommand(ctx, u.Revision, e, command); err != nil {
			return err
		}
	}
	return nil
}

// writeEvent writes an event as etcdctl does.
func (s *Session) writeEvent(b *bytes.Buffer, e *mvccpb.Event) {
	fmt.Fprintln(b, e.GetType())
	if prev := e.GetPrevKv(); prev != nil {
		fmt.Fprintf(b, "%s\n%s\n", s.text(prev.GetKey()), s.text(prev.GetValue()))
	}
	fmt.Fprintf(b, "%s\n%s\n", s.text(e.GetKv().GetKey()), s.text(e.GetKv().GetValue()))
}

// runCommand runs the user's command for an event and waits for it.
func (s *Session) runCommand(ctx context.Context, revision int64, e *mvccpb.Event, command []string) error {
	if len(command) == 0 {
		return nil
	}
	cmd := exec.CommandContext(ctx, command[0], command[1:]...)
	cmd.Env = append(os.Environ(), eventEnvironment(revision, e)...)
	cmd.Stdout, cmd.Stderr = s.Out, s.Err
	if err := cmd.Run(); err != nil && ctx.Err() == nil {
		return fmt.Errorf("command %q: %w", strings.Join(command, " "), err)
	}
	return nil
}

func eventEnvironment(revision int64, e *mvccpb.Event) (env []string) {
	kv := e.GetKv()
	kind := e.GetType().String()
	env = []string{
		fmt.Sprintf("ETCD_WATCH_REVISION=%d", revision),
		fmt.Sprintf("ETCD_WATCH_EVENT_TYPE=%q", kind),
		fmt.Sprintf("ETCD_WATCH_KEY=%q", kv.GetKey()),
		fmt.Sprintf("ETCD_WATCH_VALUE=%q", kv.GetValue()),
		fmt.Sprintf("RAFTKV_WATCH_REVISION=%d", kv.GetModRevision()),
		"RAFTKV_WATCH_EVENT_TYPE=" + kind,
	}
	// A variable cannot hold a zero byte; the quoted ones tell.
	for name, value := range map[string][]byte{"RAFTKV_WATCH_KEY": kv.GetKey(), "RAFTKV_WATCH_VALUE": kv.GetValue()} {
		if !bytes.ContainsRune(value, 0) {
			env = append(env, name+"="+string(value))
		}
	}
	return env
}
