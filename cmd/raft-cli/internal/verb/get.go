package verb

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"strconv"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"raftkv/client"
)

// rangeFlags say which keys are meant besides the one given.
type rangeFlags struct {
	prefix   bool
	rangeEnd string
}

func (f *rangeFlags) register(flags *pflag.FlagSet) {
	flags.BoolVar(&f.prefix, "prefix", false, "all keys that begin with KEY")
	flags.StringVar(&f.rangeEnd, "range-end", "", "all keys from KEY on that are below this one")
}

// bounds returns the bounds of a request in etcd's form. args is the key and,
// as etcdctl has it, perhaps the end of the range.
func (f *rangeFlags) bounds(s *Session, args []string) (key, end []byte, err error) {
	if key, err = s.bytes(args[0]); err != nil {
		return nil, nil, err
	}
	rangeEnd := f.rangeEnd
	if len(args) > 1 {
		rangeEnd = args[1]
	}
	switch {
	case f.prefix && rangeEnd != "":
		return nil, nil, usagef("a prefix and the end of a range cannot be given together")
	case f.prefix && len(key) == 0:
		return []byte{0}, []byte{0}, nil // all keys
	case f.prefix:
		return key, prefixEnd(key), nil
	case rangeEnd == "":
		return key, nil, nil
	}
	end, err = s.bytes(rangeEnd)
	return key, end, err
}

// prefixEnd returns the first key behind all that begin with prefix.
func prefixEnd(prefix []byte) []byte {
	for i := len(prefix) - 1; i >= 0; i-- {
		if prefix[i] < 0xff {
			end := bytes.Clone(prefix[:i+1])
			end[i]++
			return end
		}
	}
	return []byte{0} // no key is behind them
}

// getFlags are the flags of get, here and in a transaction.
type getFlags struct {
	rangeFlags
	limit, rev                        int64
	keysOnly, countOnly, serializable bool
}

func (f *getFlags) register(flags *pflag.FlagSet) {
	f.rangeFlags.register(flags)
	flags.Int64Var(&f.limit, "limit", 0, "at most so many keys (0: all)")
	flags.Int64Var(&f.rev, "rev", 0, "the state at this revision (0: now)")
	flags.BoolVar(&f.keysOnly, "keys-only", false, "keys without values")
	flags.BoolVar(&f.countOnly, "count-only", false, "the number of keys only")
	flags.BoolVar(&f.serializable, "serializable", false, "read what one member has, perhaps stale, without asking a majority")
}

func (f *getFlags) request(s *Session, args []string) (*pb.RangeRequest, error) {
	switch {
	case f.limit < 0:
		return nil, usagef("--limit %d is negative", f.limit)
	case f.rev < 0:
		return nil, usagef("--rev %d is negative", f.rev)
	case f.keysOnly && f.countOnly:
		return nil, usagef("--keys-only and --count-only cannot be given together")
	}
	key, end, err := f.bounds(s, args)
	if err != nil {
		return nil, err
	}
	return &pb.RangeRequest{
		Key: key, RangeEnd: end, Limit: f.limit, Revision: f.rev,
		KeysOnly: f.keysOnly, CountOnly: f.countOnly, Serializable: f.serializable,
	}, nil
}

func getCommand(s *Session) *cobra.Command {
	var flags getFlags
	cmd := s.command("get KEY", "Read keys", cobra.ExactArgs(1),
		func(args []string) (request, error) {
			req, err := flags.request(s, args)
			return func(ctx context.Context, c *client.Client) error { return s.get(ctx, c, req) }, err
		})
	cmd.Long = `Read the value of a key, or the keys and values of a range.

Of one key the value is printed, of a range each key and then its value, on
lines of their own. If another endpoint than the first answered, the standard
error output names the node. A key that does not exist is an error.`
	cmd.Example = "  raft-cli get name\n  raft-cli get --prefix fruit/ --keys-only\n  raft-cli get name --rev 7 -w json"
	cmd.ValidArgsFunction = s.completeKey()
	flags.register(cmd.Flags())
	return cmd
}

func (s *Session) get(ctx context.Context, c *client.Client, req *pb.RangeRequest) error {
	resp, answer, err := c.Range(ctx, req)
	if err != nil {
		return err
	}
	missing := len(req.GetRangeEnd()) == 0 && !req.GetCountOnly() && len(resp.GetKvs()) == 0
	if !missing || s.format == formatJSON {
		if err := s.print(s.rangeOutput(req, resp)); err != nil {
			return err
		}
	}
	if s.format == formatSimple {
		if err := s.remarkOnAnswer(ctx, c, answer, resp); err != nil {
			return err
		}
	}
	if missing {
		return fmt.Errorf("key %s not found", s.quote(req.GetKey()))
	}
	return nil
}

// remarkOnAnswer says what the plain output does not: who answered, if it was
// not the first endpoint, and that there is more.
func (s *Session) remarkOnAnswer(ctx context.Context, c *client.Client, a client.Answer, resp *pb.RangeResponse) error {
	if resp.GetMore() {
		if err := s.remark("(%d of %s)", len(resp.GetKvs()), plural(resp.GetCount(), "key")); err != nil {
			return err
		}
	}
	if a.First {
		return nil
	}
	return s.remark("(from node %s)", cmp.Or(c.MemberName(ctx, a), a.Endpoint))
}

func (s *Session) rangeOutput(req *pb.RangeRequest, resp *pb.RangeResponse) output {
	o := output{json: resp, simple: func(b *bytes.Buffer) { s.writePairs(b, req, resp, len(req.GetRangeEnd()) > 0) }}
	o.head, o.rows = s.rangeTable(req, resp)
	return o
}

// writePairs writes a range line by line; withKeys puts each key before its value.
func (s *Session) writePairs(b *bytes.Buffer, req *pb.RangeRequest, resp *pb.RangeResponse, withKeys bool) {
	if req.GetCountOnly() {
		fmt.Fprintln(b, resp.GetCount())
		return
	}
	for _, pair := range resp.GetKvs() {
		if withKeys || req.GetKeysOnly() {
			fmt.Fprintln(b, s.text(pair.GetKey()))
		}
		if !req.GetKeysOnly() {
			fmt.Fprintln(b, s.text(pair.GetValue()))
		}
	}
}

func (s *Session) rangeTable(req *pb.RangeRequest, resp *pb.RangeResponse) (head []string, rows [][]string) {
	if req.GetCountOnly() {
		return []string{"COUNT"}, [][]string{{strconv.FormatInt(resp.GetCount(), 10)}}
	}
	head = []string{"KEY", "VALUE", "VERSION", "CREATED", "MODIFIED"}
	for _, pair := range resp.GetKvs() {
		rows = append(rows, []string{
			s.cell(pair.GetKey()), s.cell(pair.GetValue()), strconv.FormatInt(pair.GetVersion(), 10),
			strconv.FormatInt(pair.GetCreateRevision(), 10), strconv.FormatInt(pair.GetModRevision(), 10),
		})
	}
	if req.GetKeysOnly() {
		head = append(head[:1], head[2:]...)
		for i, row := range rows {
			rows[i] = append(row[:1], row[2:]...)
		}
	}
	return head, rows
}
