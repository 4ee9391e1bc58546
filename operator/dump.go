package operator

import (
	"encoding/base64"
	"fmt"
	"io"
	"strings"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/membershippb"
	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"

	"raftkv/server/identity"
	"raftkv/statemachine/envelope"
	"raftkv/wal"
)

// DumpLog writes the log of a data directory to w, one line a record, as it was
// written. It takes no lock.
func DumpLog(w io.Writer, root string) error {
	return readLog(root, func(r wal.Record) error {
		_, err := fmt.Fprintln(w, describe(r))
		return err
	})
}

func readLog(root string, visit func(wal.Record) error) error {
	id, found, err := identity.Peek(root)
	switch {
	case err != nil:
		return err
	case !found:
		return fmt.Errorf("%w: %s has no member/identity.json", identity.ErrForeign, root)
	}
	return wal.Read(logDir(root, id), visit)
}

func describe(r wal.Record) string {
	switch {
	case r.State != nil:
		return fmt.Sprintf("state     term %d vote %x commit %d", r.State.GetTerm(), r.State.GetVote(), r.State.GetCommit())
	case r.Snapshot != nil:
		return fmt.Sprintf("snapshot  index %d term %d voters %x learners %x", r.Snapshot.GetIndex(), r.Snapshot.GetTerm(),
			r.Snapshot.GetConfState().GetVoters(), r.Snapshot.GetConfState().GetLearners())
	case r.Entry != nil:
		return describeEntry(r.Entry)
	}
	return fmt.Sprintf("metadata  %x", r.Metadata)
}

func describeEntry(e *raftpb.Entry) string {
	line := fmt.Sprintf("entry     index %d term %d ", e.GetIndex(), e.GetTerm())
	if e.GetType() != raftpb.EntryNormal {
		return line + fmt.Sprintf("configuration change, %d bytes", len(e.GetData()))
	}
	if len(e.GetData()) == 0 {
		return line + "empty"
	}
	env, err := envelope.Decode(e.GetData())
	if err != nil {
		return line + err.Error()
	}
	var commands []string
	for i := range env.Commands {
		c := &env.Commands[i]
		if c.Session != 0 {
			commands = append(commands, fmt.Sprintf("number %d of session %x:", c.Sequence, c.Session))
		}
		for _, req := range translate(c) {
			text := fmt.Sprintf("kind %d, %d bytes", c.Kind, len(c.Body))
			if req != nil {
				text = shorten(req.String())
			}
			commands = append(commands, text)
		}
	}
	return line + fmt.Sprintf("batch %d of %x (start %d): %s", env.Batch, env.Proposer, env.Boot, strings.Join(commands, "; "))
}

// textMax bounds how much of a command is shown.
const textMax = 200

func shorten(s string) string {
	if len(s) <= textMax {
		return s
	}
	return fmt.Sprintf("%s… (%d bytes)", strings.ToValidUTF8(s[:textMax], ""), len(s))
}

// DumpRaw writes "commit N", then for each command of the log as it stands, in
// its order, "index term normal|conf base64": an InternalRaftRequest of etcd,
// or the data of a configuration change. What was replaced is left out. A
// command that amounts to none of etcd's, and an empty entry, have nothing in
// the last place. Of an append, only the part that it adds is in the log: it is
// shown as a put of that. It takes no lock.
func DumpRaw(w io.Writer, root string) error {
	var entries []*raftpb.Entry
	commit := uint64(0)
	err := readLog(root, func(r wal.Record) error {
		switch {
		case r.State != nil:
			commit = max(commit, r.State.GetCommit())
		case r.Snapshot != nil:
			commit = max(commit, r.Snapshot.GetIndex())
		case r.Entry != nil:
			for len(entries) > 0 && entries[len(entries)-1].GetIndex() >= r.Entry.GetIndex() {
				entries = entries[:len(entries)-1]
			}
			entries = append(entries, r.Entry)
		}
		return nil
	})
	if err != nil {
		return err
	}
	if _, err := fmt.Fprintf(w, "commit %d\n", commit); err != nil {
		return err
	}
	for _, e := range entries {
		if err := dumpRawEntry(w, e); err != nil {
			return err
		}
	}
	return nil
}

func dumpRawEntry(w io.Writer, e *raftpb.Entry) error {
	line := func(kind string, data []byte) error {
		_, err := fmt.Fprintf(w, "%d %d %s %s\n", e.GetIndex(), e.GetTerm(), kind, base64.StdEncoding.EncodeToString(data))
		return err
	}
	if e.GetType() != raftpb.EntryNormal {
		return line("conf", e.GetData())
	}
	if len(e.GetData()) == 0 {
		return line("normal", nil)
	}
	env, err := envelope.Decode(e.GetData())
	if err != nil {
		return fmt.Errorf("entry %d: %w", e.GetIndex(), err)
	}
	for i := range env.Commands {
		for _, req := range translate(&env.Commands[i]) {
			var data []byte
			if req != nil {
				if data, err = proto.Marshal(req); err != nil {
					return fmt.Errorf("entry %d: %w", e.GetIndex(), err)
				}
			}
			if err := line("normal", data); err != nil {
				return err
			}
		}
	}
	return nil
}

// translate returns the requests of etcd that a command amounts to: one for each
// write of a frame, one for any other; nil in place of one if there is none or
// the body cannot be read.
func translate(c *envelope.Command) []*pb.InternalRaftRequest {
	header := &pb.RequestHeader{Username: c.User, AuthRevision: c.AuthRevision}
	if c.User == "" {
		header = nil
	}
	var requests []*pb.InternalRaftRequest
	if c.Kind == envelope.KindFrame {
		requests = translateFrame(c)
	} else {
		requests = []*pb.InternalRaftRequest{translateRequest(c)}
	}
	for _, req := range requests {
		if req != nil {
			req.Header = header
		}
	}
	return requests
}

func translateRequest(c *envelope.Command) *pb.InternalRaftRequest {
	out := &pb.InternalRaftRequest{}
	var body proto.Message
	switch c.Kind {
	case envelope.KindPut, envelope.KindAppend:
		out.Put = &pb.PutRequest{}
		body = out.Put
	case envelope.KindDeleteRange:
		out.DeleteRange = &pb.DeleteRangeRequest{}
		body = out.DeleteRange
	case envelope.KindTxn:
		out.Txn = &pb.TxnRequest{}
		body = out.Txn
	case envelope.KindCompaction:
		out.Compaction = &pb.CompactionRequest{}
		body = out.Compaction
	case envelope.KindAlarm, envelope.KindOwnAlarm:
		out.Alarm = &pb.AlarmRequest{}
		body = out.Alarm
	case envelope.KindLeaseGrant:
		out.LeaseGrant = &pb.LeaseGrantRequest{}
		body = out.LeaseGrant
	case envelope.KindLeaseRevoke:
		// Its body reads like etcd's request; the term behind it is unknown there.
		out.LeaseRevoke = &pb.LeaseRevokeRequest{}
		body = out.LeaseRevoke
	case envelope.KindClusterVersion:
		out.ClusterVersionSet = &membershippb.ClusterVersionSetRequest{}
		body = out.ClusterVersionSet
	case envelope.KindPublishMember:
		p, err := envelope.DecodePublishMember(c.Body)
		if err != nil {
			return nil
		}
		out.ClusterMemberAttrSet = &membershippb.ClusterMemberAttrSetRequest{
			Member_ID: p.ID, MemberAttributes: &membershippb.Attributes{Name: p.Name, ClientUrls: p.ClientURLs},
		}
		return out
	default:
		return nil
	}
	if err := (proto.UnmarshalOptions{DiscardUnknown: true}).Unmarshal(c.Body, body); err != nil {
		return nil
	}
	return out
}
