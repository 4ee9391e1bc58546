package verb

import (
	"bytes"
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"raftkv/client"
	"raftkv/rpc/kvstream/kvpb"
)

func setCommand(s *Session) *cobra.Command {
	var lease string
	cmd := s.command("set KEY VALUE", "Store a value under a key", cobra.ExactArgs(2),
		func(args []string) (request, error) {
			id, err := parseLease(lease)
			if err != nil {
				return nil, err
			}
			key, value, err := s.keyAndValue(args)
			return s.write(key, &kvpb.WriteRequest{
				Op: &kvpb.WriteRequest_Put{Put: &kvpb.Put{Key: key, Value: value, Lease: id}},
			}), err
		})
	cmd.Flags().StringVar(&lease, "lease", "0", "the key goes with this lease (an id in hexadecimal)")
	cmd.Aliases = []string{"put"}
	cmd.Long = "Store a value under a key, replacing what was there. A VALUE of - is read from the standard input."
	cmd.ValidArgsFunction = s.completeKey()
	cmd.Example = "  raft-cli set name Alice\n  raft-cli set photo - < photo.png\n  raft-cli set -- temperature -5"
	return cmd
}

func appendCommand(s *Session) *cobra.Command {
	cmd := s.command("append KEY VALUE", "Add to the end of a value", cobra.ExactArgs(2),
		func(args []string) (request, error) {
			key, value, err := s.keyAndValue(args)
			return s.write(key, &kvpb.WriteRequest{
				Op: &kvpb.WriteRequest_Append{Append: &kvpb.Append{Key: key, Value: value}},
			}), err
		})
	cmd.Long = "Add VALUE to the end of the key's value; a missing key counts as empty. A VALUE of - is read from the standard input."
	cmd.Example = "  raft-cli append log 'one more line'\n  raft-cli append log - < more.txt"
	cmd.ValidArgsFunction = s.completeKey()
	return cmd
}

func delCommand(s *Session) *cobra.Command {
	var flags rangeFlags
	cmd := s.command("del KEY", "Delete keys", cobra.ExactArgs(1),
		func(args []string) (request, error) {
			key, end, err := flags.bounds(s, args)
			return s.write(key, &kvpb.WriteRequest{
				Op: &kvpb.WriteRequest_Delete{Delete: &kvpb.Delete{Key: key, RangeEnd: end}},
			}), err
		})
	cmd.Aliases = []string{"delete"}
	cmd.Long = "Delete a key, or all keys of a range, and say how many there were."
	cmd.Example = "  raft-cli del name\n  raft-cli del --prefix fruit/\n  raft-cli del a --range-end f"
	cmd.ValidArgsFunction = s.completeKey()
	flags.register(cmd.Flags())
	return cmd
}

// write executes one write and prints what became of it.
func (s *Session) write(key []byte, req *kvpb.WriteRequest) request {
	req.CountHolders = true
	return func(ctx context.Context, c *client.Client) error {
		resp, _, err := c.Write(ctx, req)
		if err != nil {
			return s.explain(err, key)
		}
		return s.print(writeOutput(req, resp))
	}
}

// writeJSON has the shape of etcd's responses to writes, with what the native
// service adds.
type writeJSON struct {
	Header  *pb.ResponseHeader `json:"header"`
	Deleted *int64             `json:"deleted,omitempty"`
	Length  int64              `json:"length,omitempty"`
	Index   uint64             `json:"index,omitempty"`
	Holders uint32             `json:"holders,omitempty"`
	Members uint32             `json:"members,omitempty"`
}

func writeOutput(req *kvpb.WriteRequest, resp *kvpb.WriteResponse) output {
	j := writeJSON{
		Header: &pb.ResponseHeader{
			ClusterId: resp.GetClusterId(), MemberId: resp.GetMemberId(),
			RaftTerm: resp.GetRaftTerm(), Revision: resp.GetRevision(),
		},
		Length:  resp.GetLength(),
		Index:   resp.GetIndex(),
		Holders: resp.GetHolders(),
		Members: resp.GetMembers(),
	}
	var notes []string
	head, row := []string{"RESULT", "REVISION"}, []string{"OK", strconv.FormatInt(resp.GetRevision(), 10)}
	switch req.GetOp().(type) {
	case *kvpb.WriteRequest_Append:
		if resp.GetLength() > 0 { // else empty, or the server did not tell
			notes = append(notes, plural(resp.GetLength(), "byte"))
		}
		head, row = append(head, "LENGTH"), append(row, strconv.FormatInt(resp.GetLength(), 10))
	case *kvpb.WriteRequest_Delete:
		j.Deleted = &resp.Deleted
		notes = append(notes, plural(resp.GetDeleted(), "key")+" deleted")
		head, row = append(head, "DELETED"), append(row, strconv.FormatInt(resp.GetDeleted(), 10))
	}
	if resp.GetMembers() > 0 {
		held := fmt.Sprintf("%d/%d", resp.GetHolders(), resp.GetMembers())
		notes = append(notes, "committed to "+held+" nodes")
		head, row = append(head, "COMMITTED TO"), append(row, held)
	}
	return output{
		json: j,
		head: head,
		rows: [][]string{row},
		simple: func(b *bytes.Buffer) {
			b.WriteString("OK")
			if len(notes) > 0 {
				b.WriteString(" (" + strings.Join(notes, ", ") + ")")
			}
			b.WriteByte('\n')
		},
	}
}

func plural(n int64, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return strconv.FormatInt(n, 10) + " " + thing + "s"
}
