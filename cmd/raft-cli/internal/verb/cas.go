package verb

import (
	"bytes"
	"context"
	"fmt"
	"strconv"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"

	"raftkv/client"
)

// casFlags are the conditions of cas besides that on the value.
type casFlags struct {
	set                  *pflag.FlagSet
	version, modRevision int64
	absent               bool
}

func (f *casFlags) register(flags *pflag.FlagSet) {
	f.set = flags
	flags.Int64Var(&f.version, "version", 0, "the version the key must have (0: it must not exist)")
	flags.Int64Var(&f.modRevision, "mod-revision", 0, "the revision that must have changed the key last (0: it must not exist)")
	flags.BoolVar(&f.absent, "absent", false, "the key must not exist")
}

// given counts the conditions that were set.
func (f *casFlags) given() int {
	n := 0
	for _, is := range []bool{f.set.Changed("version"), f.set.Changed("mod-revision"), f.absent} {
		if is {
			n++
		}
	}
	return n
}

// condition is a comparison and how a refusal is explained.
type condition struct {
	compare *pb.Compare
	// mismatch says what is wrong with the key as it is.
	mismatch func(now *mvccpb.KeyValue) string
}

func casCommand(s *Session) *cobra.Command {
	var flags casFlags
	cmd := s.command("cas KEY [EXPECTED] NEW", "Replace a value if it is still what you expect", cobra.RangeArgs(2, 3),
		func(args []string) (request, error) {
			if n := flags.given(); n > 1 || (n == 1) != (len(args) == 2) {
				return nil, usagef("cas takes KEY EXPECTED NEW, or KEY NEW with one of --version, --mod-revision and --absent")
			}
			return s.cas(&flags, args)
		})
	cmd.Long = `Store NEW under KEY on the condition that the key's value is EXPECTED or, with
one of the flags, that its version or revision is the one given or that it does
not exist. Otherwise nothing changes, the exit code is 1 and the standard error
output says what the key holds. One of EXPECTED and NEW may be -, read from the
standard input.`
	cmd.Example = "  raft-cli cas name Alice Bob\n  raft-cli cas name Bob --version 3\n  raft-cli cas lock me --absent"
	cmd.ValidArgsFunction = s.completeKey()
	flags.register(cmd.Flags())
	return cmd
}

func (s *Session) cas(flags *casFlags, args []string) (request, error) {
	key, err := s.bytes(args[0])
	if err != nil {
		return nil, err
	}
	cond, err := s.casCondition(flags, key, args)
	if err != nil {
		return nil, err
	}
	value, err := s.value(args[len(args)-1])
	if err != nil {
		return nil, err
	}
	req := &pb.TxnRequest{
		Compare: []*pb.Compare{cond.compare},
		Success: []*pb.RequestOp{{Request: &pb.RequestOp_RequestPut{RequestPut: &pb.PutRequest{Key: key, Value: value}}}},
		Failure: []*pb.RequestOp{{Request: &pb.RequestOp_RequestRange{RequestRange: &pb.RangeRequest{Key: key}}}},
	}
	return func(ctx context.Context, c *client.Client) error {
		resp, _, err := c.Txn(ctx, req)
		if err != nil {
			return s.explain(err, key)
		}
		if resp.GetSucceeded() || s.format == formatJSON {
			if err := s.print(casOutput(resp)); err != nil {
				return err
			}
		}
		if !resp.GetSucceeded() {
			return fmt.Errorf("not applied: key %s %s", s.quote(key), cond.explain(resp))
		}
		return nil
	}, nil
}

// casCondition chooses the condition: that of the flag given, else the value.
func (s *Session) casCondition(flags *casFlags, key []byte, args []string) (condition, error) {
	if len(args) == 3 {
		if args[1] == "-" && args[2] == "-" {
			return condition{}, usagef("only one of EXPECTED and NEW can be read from the standard input")
		}
		expected, err := s.value(args[1])
		if err != nil {
			return condition{}, err
		}
		return condition{
			compare: &pb.Compare{Key: key, Target: pb.Compare_VALUE, TargetUnion: &pb.Compare_Value{Value: expected}},
			mismatch: func(now *mvccpb.KeyValue) string {
				return fmt.Sprintf("holds %s, not %s", s.quote(now.GetValue()), s.quote(expected))
			},
		}, nil
	}
	switch {
	case flags.version < 0 || flags.modRevision < 0:
		return condition{}, usagef("versions and revisions are not negative")
	case flags.set.Changed("mod-revision"):
		return condition{
			compare: &pb.Compare{Key: key, Target: pb.Compare_MOD, TargetUnion: &pb.Compare_ModRevision{ModRevision: flags.modRevision}},
			mismatch: func(now *mvccpb.KeyValue) string {
				return fmt.Sprintf("was last changed at revision %d, not %d", now.GetModRevision(), flags.modRevision)
			},
		}, nil
	}
	// A key that does not exist has version 0.
	return condition{
		compare: &pb.Compare{Key: key, Target: pb.Compare_VERSION, TargetUnion: &pb.Compare_Version{Version: flags.version}},
		mismatch: func(now *mvccpb.KeyValue) string {
			if flags.version == 0 {
				return fmt.Sprintf("exists already, with version %d", now.GetVersion())
			}
			return fmt.Sprintf("has version %d, not %d", now.GetVersion(), flags.version)
		},
	}, nil
}

// explain says why the condition did not hold, from the key as the same
// transaction read it.
func (c condition) explain(resp *pb.TxnResponse) string {
	for _, r := range resp.GetResponses() {
		if pairs := r.GetResponseRange().GetKvs(); len(pairs) > 0 {
			return c.mismatch(pairs[0])
		}
	}
	return "does not exist"
}

func casOutput(resp *pb.TxnResponse) output {
	return output{
		json:   txnToJSON(resp),
		head:   []string{"RESULT", "REVISION"},
		rows:   [][]string{{"OK", strconv.FormatInt(resp.GetHeader().GetRevision(), 10)}},
		simple: func(b *bytes.Buffer) { b.WriteString("OK\n") },
	}
}
