package operator

import (
	"context"
	"encoding/base64"
	"errors"
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
		all := writesOf(c)
		for n, req := range translate(c) {
			text := fmt.Sprintf("kind %d, %d bytes", c.Kind, len(c.Body))
			if req != nil {
				text = shorten(req.String())
			}
			if n < len(all) && all[n].op == envelope.WriteAppend {
				text = "append of " + text
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

// rawLog is a log as it stands: what was replaced is left out.
type rawLog struct {
	entries []*raftpb.Entry
	commit  uint64
	// anchor is where it begins.
	anchor *raftpb.SnapshotMetadata
}

func (l *rawLog) add(r wal.Record) error {
	switch {
	case r.State != nil:
		l.commit = max(l.commit, r.State.GetCommit())
	case r.Snapshot != nil:
		l.commit = max(l.commit, r.Snapshot.GetIndex())
		if l.anchor == nil && r.Snapshot.GetIndex() > 0 { // every WAL of etcd begins with one at 0
			l.anchor = r.Snapshot
		}
	case r.Entry != nil:
		for len(l.entries) > 0 && l.entries[len(l.entries)-1].GetIndex() >= r.Entry.GetIndex() {
			l.entries = l.entries[:len(l.entries)-1]
		}
		l.entries = append(l.entries, r.Entry)
	}
	return nil
}

// DumpRaw writes "commit N", then for each command of the log as it stands, in
// its order, "index term normal|conf base64": an InternalRaftRequest of etcd,
// or the data of a configuration change. A command that amounts to none of
// etcd's, and an empty entry, have nothing in the last place.
//
// Of an append or increment the log has what it adds; it amounts to a put of the
// whole value, which can be told as long as the log goes back to the beginning
// of the cluster and the member is stopped. Where it cannot, the last place is
// empty, and warn is told why. It takes no lock for the rest.
func DumpRaw(ctx context.Context, w io.Writer, root string, warn func(format string, args ...any)) error {
	var l rawLog
	if err := readLog(root, l.add); err != nil {
		return err
	}
	if _, err := fmt.Fprintf(w, "commit %d\n", l.commit); err != nil {
		return err
	}
	d := rawDump{w: w, warn: warn, commit: l.commit}
	if growing(l.entries) {
		if d.found, d.reason = replayLog(ctx, root, &l); ctx.Err() != nil {
			return ctx.Err()
		}
	}
	for _, e := range l.entries {
		if err := d.entry(e); err != nil {
			return fmt.Errorf("entry %d: %w", e.GetIndex(), err)
		}
	}
	return nil
}

// rawDump prints a log. reason says why found is not known.
type rawDump struct {
	w      io.Writer
	warn   func(format string, args ...any)
	commit uint64
	found  map[place]outcome
	reason error
}

func (d *rawDump) line(e *raftpb.Entry, kind string, data []byte) error {
	_, err := fmt.Fprintf(d.w, "%d %d %s %s\n", e.GetIndex(), e.GetTerm(), kind, base64.StdEncoding.EncodeToString(data))
	return err
}

func (d *rawDump) entry(e *raftpb.Entry) error {
	if e.GetType() != raftpb.EntryNormal {
		return d.line(e, "conf", e.GetData())
	}
	if len(e.GetData()) == 0 {
		return d.line(e, "normal", nil)
	}
	env, err := envelope.Decode(e.GetData())
	if err != nil {
		return err
	}
	for i := range env.Commands {
		if err := d.command(e, &env.Commands[i], i); err != nil {
			return err
		}
	}
	return nil
}

func (d *rawDump) command(e *raftpb.Entry, c *envelope.Command, position int) error {
	all := writesOf(c)
	for n, req := range translate(c) {
		if n < len(all) && all[n].grows() {
			req = d.whole(place{e.GetIndex(), position, n}, all[n].key, c)
		}
		var data []byte
		if req != nil {
			var err error
			if data, err = proto.Marshal(req); err != nil {
				return err
			}
		}
		if err := d.line(e, "normal", data); err != nil {
			return err
		}
	}
	return nil
}

// whole is the put that a growing write amounts to; nil if it was not carried out
// or that cannot be told.
func (d *rawDump) whole(at place, key []byte, c *envelope.Command) *pb.InternalRaftRequest {
	if o, known := d.found[at]; known {
		return &pb.InternalRaftRequest{Header: headerOf(c), Put: &pb.PutRequest{Key: key, Value: o.value, Lease: o.lease}}
	}
	reason := errors.New("it was refused, or had been applied before")
	switch {
	case at.index > d.commit:
		reason = errors.New("it is not known to be committed")
	case d.reason != nil:
		reason = d.reason
	}
	d.warn("entry %d, command %d: an append or increment is left empty: %v", at.index, at.command+1, reason)
	return nil
}

func headerOf(c *envelope.Command) *pb.RequestHeader {
	if c.User == "" {
		return nil
	}
	return &pb.RequestHeader{Username: c.User, AuthRevision: c.AuthRevision}
}

// translate returns the requests of etcd that a command amounts to: one for each
// write of a frame, one for any other; nil in place of one if there is none or
// the body cannot be read.
func translate(c *envelope.Command) []*pb.InternalRaftRequest {
	var requests []*pb.InternalRaftRequest
	if c.Kind == envelope.KindFrame {
		requests = translateFrame(c)
	} else {
		requests = []*pb.InternalRaftRequest{translateRequest(c)}
	}
	for _, req := range requests {
		if req != nil {
			req.Header = headerOf(c)
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
	case envelope.KindLeaseRemaining:
		remaining, err := envelope.DecodeLeaseRemaining(c.Body)
		if err != nil {
			return nil
		}
		out.LeaseCheckpoint = &pb.LeaseCheckpointRequest{}
		for _, l := range remaining.Leases {
			out.LeaseCheckpoint.Checkpoints = append(out.LeaseCheckpoint.Checkpoints, &pb.LeaseCheckpoint{ID: l.ID, Remaining_TTL: l.Seconds})
		}
		return out
	case envelope.KindDowngrade:
		out.DowngradeInfoSet = &membershippb.DowngradeInfoSetRequest{}
		body = out.DowngradeInfoSet
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
	if err := unmarshal(c.Body, body); err != nil {
		return nil
	}
	return out
}

func unmarshal(data []byte, m proto.Message) error {
	return proto.UnmarshalOptions{DiscardUnknown: true}.Unmarshal(data, m)
}
