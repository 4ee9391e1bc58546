package statemachine

import (
	"fmt"

	"github.com/coreos/go-semver/semver"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/membershippb"
	"google.golang.org/protobuf/proto"

	"raftkv/statemachine/envelope"
	"raftkv/statemachine/keys"
	"raftkv/statemachine/kv"
)

// command applies one command. A refusal is its result; an error is fatal.
func (a *application) command(c *envelope.Command) (result any, err error) {
	w := &a.m.writer
	switch c.Kind {
	case envelope.KindPut, envelope.KindAppend:
		req := &a.m.put
		if err := decodePut(c.Body, req); err != nil {
			return nil, err
		}
		if c.Kind == envelope.KindPut {
			return outcome(kv.Put(w, req))
		}
		return outcome(kv.Append(w, req))
	case envelope.KindDeleteRange:
		req := &pb.DeleteRangeRequest{}
		if err := decodeBody(c, req); err != nil {
			return nil, err
		}
		return outcome(kv.DeleteRange(w, req))
	case envelope.KindTxn:
		req := &pb.TxnRequest{}
		if err := decodeBody(c, req); err != nil {
			return nil, err
		}
		return outcome(kv.Txn(w, req))
	case envelope.KindCompaction:
		return a.compaction(c)
	case envelope.KindPublishMember:
		return a.publishMember(c)
	case envelope.KindClusterVersion:
		return a.setClusterVersion(c)
	}
	return nil, fmt.Errorf("%w: kind %d", ErrUnknownCommand, c.Kind)
}

func decodeBody(c *envelope.Command, req proto.Message) error {
	if err := proto.Unmarshal(c.Body, req); err != nil {
		return fmt.Errorf("%w: body of kind %d: %w", ErrMalformedEntry, c.Kind, err)
	}
	return nil
}

// outcome turns a refusal into a result.
func outcome[T any](resp *T, err error) (any, error) {
	if err == nil {
		return resp, nil
	}
	if kv.IsRefusal(err) {
		return err, nil
	}
	return nil, err
}

func (a *application) compaction(c *envelope.Command) (any, error) {
	req := &pb.CompactionRequest{}
	if err := decodeBody(c, req); err != nil {
		return nil, err
	}
	resp, err := kv.Compact(&a.m.writer, req)
	if err == nil {
		a.m.effects.compact(req.GetRevision())
	}
	return outcome(resp, err)
}

// publishMember records what a started member says of itself.
func (a *application) publishMember(c *envelope.Command) (any, error) {
	req := &pb.Member{}
	if err := decodeBody(c, req); err != nil {
		return nil, err
	}
	i, found := a.next.find(req.GetID())
	if !found {
		return fmt.Errorf("%w: %x", ErrMemberNotFound, req.GetID()), nil
	}
	member := a.next.members[i]
	member.Name, member.ClientURLs = req.GetName(), req.GetClientURLs()
	if err := a.setMember(member); err != nil {
		return nil, err
	}
	return &pb.MemberListResponse{Header: &pb.ResponseHeader{}, Members: a.next.toProto()}, nil
}

func (a *application) setMember(m Member) error {
	a.next.roster = a.next.with(m)
	a.m.effects.member(&m)
	return setMember(a.batch, &m)
}

// setClusterVersion records the version that gates new commands. It only
// rises: two leaders that decide one after another must not take it back.
func (a *application) setClusterVersion(c *envelope.Command) (any, error) {
	req := &membershippb.ClusterVersionSetRequest{}
	if err := decodeBody(c, req); err != nil {
		return nil, err
	}
	version, err := semver.NewVersion(req.GetVer())
	if err != nil {
		return fmt.Errorf("%w %q: %w", ErrClusterVersion, req.GetVer(), err), nil
	}
	if a.next.clusterVersion != "" && version.LessThan(*semver.New(a.next.clusterVersion)) {
		return fmt.Errorf("%w: it is %s, %s was asked for", ErrClusterVersionLowers, a.next.clusterVersion, version), nil
	}
	a.next.clusterVersion = version.String()
	a.m.effects.clusterVersion(a.next.clusterVersion)
	err = a.batch.Set(keys.Named(keys.Meta, metaClusterVersion), []byte(a.next.clusterVersion))
	return &pb.EmptyResponse{}, err
}
