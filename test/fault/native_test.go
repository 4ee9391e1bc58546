package fault

import (
	"context"
	"errors"
	"math/rand/v2"
	"strings"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"

	raftkv "raftkv/client"
	"raftkv/rpc/kvstream/frames"
	"raftkv/test/linear"
)

// nativeSession is what every second client uses: a session of the native API,
// which sends writes to the leader and reads to the member that answers fastest.
type nativeSession struct {
	client  *raftkv.Client
	session *raftkv.Session
}

func (n *nativeSession) close() error {
	n.session.Close()
	return n.client.Close()
}

// native returns the session for the targets as they are.
func (w *workload) native() (*raftkv.Session, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	name := strings.Join(w.targets, " ")
	if n := w.natives[name]; n != nil {
		return n.session, nil
	}
	c, err := raftkv.New(raftkv.Config{Endpoints: w.targets})
	if err != nil {
		return nil, err
	}
	s, err := c.NewSession(raftkv.SessionConfig{StallTimeout: time.Second})
	if err != nil {
		return nil, errors.Join(err, c.Close())
	}
	w.natives[name] = &nativeSession{c, s}
	return s, nil
}

// askNative is ask through a session, which finds its targets itself. What its
// errors promise is believed.
func (w *workload) askNative(op *linear.Operation, _ int) error {
	s, err := w.native()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), patienceMin+time.Duration(rand.Int64N(int64(patienceSpread))))
	defer cancel()
	var answer any
	switch op.Kind {
	case linear.Read:
		v, found, readErr := s.Get(ctx, []byte(op.Key))
		resp := &pb.RangeResponse{}
		if found {
			resp.Kvs = []*mvccpb.KeyValue{{Value: v.Bytes, ModRevision: v.ModRevision}}
		}
		answer, err = resp, readErr
	case linear.CAS:
		answer, err = s.Txn(ctx, op.TxnRequest())
	default:
		write := frames.Write{Op: raftkv.OpPut, Key: []byte(op.Key), Value: []byte(op.Value)}
		if op.Kind == linear.Append {
			write.Op = raftkv.OpAppend
		}
		written, writeErr := s.Write(ctx, raftkv.Write{Write: write})
		answer, err = &pb.PutResponse{Header: &pb.ResponseHeader{Revision: written.Revision}}, writeErr
	}
	switch {
	case err == nil:
		op.Outcome = linear.Done
		op.Answer(answer)
	case errors.Is(err, raftkv.ErrNotApplied):
		op.Outcome = linear.NotApplied
	default:
		op.Outcome = linear.Unknown
	}
	op.Return = w.now()
	return err
}
