package fault

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/anishathalye/porcupine"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	"raftkv/rpc/kvstream/kvpb"
	"raftkv/test/linear"
)

const (
	clients        = 10
	keysPerClient  = 5 // so that five clients share a key
	epochTime      = 10 * time.Second
	thinkTime      = 8 * time.Millisecond
	patienceMin    = 800 * time.Millisecond
	patienceSpread = 2 * time.Second
	auditTime      = 2 * time.Minute
	porcupineLimit = 2 * time.Minute
)

// epoch is the piece of the history that belongs to one set of keys.
type epoch struct {
	number  int
	running sync.WaitGroup // operations

	mu  sync.Mutex
	ops []*linear.Operation
}

func (e *epoch) key(n int) string { return fmt.Sprintf("epoch-%d/%d", e.number, n) }

func (e *epoch) add(op *linear.Operation) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.ops = append(e.ops, op)
}

// workload is the clients and the judge of what they see.
type workload struct {
	began   time.Time
	stop    context.CancelFunc
	clients sync.WaitGroup
	judging sync.WaitGroup

	acknowledged, reads, unknown, refused atomic.Int64

	mu      sync.Mutex
	epoch   *epoch
	targets []string
	conns   map[string]*grpc.ClientConn
	natives map[string]*nativeSession // by the addresses that they know
	faults  []error
	checked int // epochs
	slowest time.Duration
	taken   []time.Duration // of a sample of operations
}

// startWorkload starts the clients, who talk to the addresses.
func startWorkload(ctx context.Context, rng *rand.Rand, addresses []string) *workload {
	ctx, stop := context.WithCancel(ctx)
	w := &workload{began: time.Now(), stop: stop, epoch: &epoch{}, conns: map[string]*grpc.ClientConn{}, natives: map[string]*nativeSession{}}
	w.target(addresses)
	for id := range clients {
		c := &client{w: w, id: id, rng: rand.New(rand.NewPCG(rng.Uint64(), 2)), known: map[string]string{}}
		w.clients.Go(func() { c.run(ctx) })
	}
	w.clients.Go(func() { w.turnPages(ctx) })
	return w
}

// target says to whom clients talk from now on.
func (w *workload) target(addresses []string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.targets = addresses
}

func (w *workload) fault(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.faults = append(w.faults, err)
}

// turnPages begins a new epoch now and then and has the old one judged.
func (w *workload) turnPages(ctx context.Context) {
	ticker := time.NewTicker(epochTime)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			w.turn()
		case <-ctx.Done():
			return
		}
	}
}

func (w *workload) turn() {
	w.mu.Lock()
	old := w.epoch
	w.epoch = &epoch{number: old.number + 1}
	w.mu.Unlock()
	w.judging.Go(func() { w.judge(old) })
}

// judge waits for the operations of an epoch, reads every key once more, and has
// Porcupine look at it all.
func (w *workload) judge(e *epoch) {
	e.running.Wait()
	for n := range clients {
		if err := w.audit(e, e.key(n)); err != nil {
			w.fault(err)
			return
		}
	}
	if result := linear.Check(e.ops, porcupineLimit); result != porcupine.Ok {
		w.fault(fmt.Errorf("the history of epoch %d, %d operations, is not linearizable: %s", e.number, len(e.ops), result))
	}
	w.mu.Lock()
	w.checked++
	w.mu.Unlock()
}

// audit reads a key until somebody answers.
func (w *workload) audit(e *epoch, key string) error {
	deadline := time.Now().Add(auditTime)
	for n := 0; ; n++ {
		op := &linear.Operation{Client: clients, Kind: linear.Read, Key: key, Call: w.now()}
		err := w.ask(op, n)
		if op.Outcome == linear.Done {
			e.add(op)
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("%q cannot be read for %v: %w", key, auditTime, err)
		}
		<-time.After(pollTime) // somebody may answer then
	}
}

const pollTime = 50 * time.Millisecond

func (w *workload) now() int64 { return int64(time.Since(w.began)) }

// end stops the clients and returns what was wrong.
func (w *workload) end() []error {
	w.stop()
	w.clients.Wait()
	w.turn()
	w.judging.Wait()
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, n := range w.natives {
		if err := n.close(); err != nil {
			w.faults = append(w.faults, err)
		}
	}
	for _, conn := range w.conns {
		if err := conn.Close(); err != nil {
			w.faults = append(w.faults, err)
		}
	}
	return w.faults
}

// conn returns the connection to one of the targets; all clients share it.
func (w *workload) conn(n int) (*grpc.ClientConn, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	address := w.targets[n%len(w.targets)]
	if conn := w.conns[address]; conn != nil {
		return conn, nil
	}
	conn, err := grpc.NewClient("passthrough:///"+address, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithConnectParams(grpc.ConnectParams{Backoff: backoff.Config{BaseDelay: 20 * time.Millisecond, Multiplier: 1.5, MaxDelay: 300 * time.Millisecond}}))
	if err == nil {
		w.conns[address] = conn
	}
	return conn, err
}

// ask sends an operation to a target, once, and notes how it ended.
func (w *workload) ask(op *linear.Operation, target int) error {
	conn, err := w.conn(target)
	if err != nil {
		return err
	}
	patience := patienceMin + time.Duration(rand.Int64N(int64(patienceSpread)))
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	var answer any
	switch kv := pb.NewKVClient(conn); op.Kind {
	case linear.Read:
		answer, err = kv.Range(ctx, op.RangeRequest())
	case linear.CAS:
		answer, err = kv.Txn(ctx, op.TxnRequest())
	case linear.Append:
		var resp *kvpb.WriteResponse
		resp, err = kvpb.NewNativeClient(conn).Write(ctx, &kvpb.WriteRequest{Op: &kvpb.WriteRequest_Append{
			Append: &kvpb.Append{Key: []byte(op.Key), Value: []byte(op.Value)}}})
		answer = &pb.PutResponse{Header: &pb.ResponseHeader{Revision: resp.GetRevision()}}
	default:
		answer, err = kv.Put(ctx, op.PutRequest())
	}
	op.Outcome = outcomeOf(err)
	if err == nil {
		op.Answer(answer)
	}
	op.Return = w.now()
	return err
}

// outcomeOf believes what raft-kv promises: these errors mean that a write did
// not happen and will not.
func outcomeOf(err error) linear.Outcome {
	if err == nil {
		return linear.Done
	}
	for _, promise := range []error{rpctypes.ErrGRPCNoLeader, rpctypes.ErrGRPCNotLeader, rpctypes.ErrGRPCLeaderChanged, rpctypes.ErrGRPCRequestTooManyRequests} {
		if status.Convert(err).Message() == status.Convert(promise).Message() {
			return linear.NotApplied
		}
	}
	if s := status.Convert(err); s.Code() == codes.Unavailable && strings.Contains(s.Message(), "Error while dialing") {
		return linear.NotApplied // it was never sent
	}
	return linear.Unknown
}

// client sends one operation after the other, to a node it likes until that one
// fails it.
type client struct {
	w      *workload
	id     int
	rng    *rand.Rand
	known  map[string]string // what it last saw of each key
	target int
	ops    int
}

func (c *client) run(ctx context.Context) {
	c.target = c.id
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-timer.C:
		case <-ctx.Done():
			return
		}
		c.next()
		timer.Reset(time.Duration(c.rng.ExpFloat64() * float64(thinkTime)))
	}
}

func (c *client) next() {
	w := c.w
	w.mu.Lock()
	e := w.epoch
	e.running.Add(1)
	w.mu.Unlock()
	defer e.running.Done()
	if c.rng.IntN(50) == 0 {
		c.target = c.rng.IntN(100)
	}
	op := c.draw(e)
	began := time.Now()
	ask := w.ask
	if c.id%2 == 1 {
		ask = w.askNative
	}
	err := ask(op, c.target)
	if err != nil {
		c.target = c.rng.IntN(100)
	} else {
		c.known[op.Key] = op.After()
	}
	e.add(op)
	w.count(op, time.Since(began))
}

// draw chooses what to do.
func (c *client) draw(e *epoch) *linear.Operation {
	c.ops++
	key, unique := e.key((c.id+c.rng.IntN(keysPerClient))%clients), fmt.Sprintf("%d.%d;", c.id, c.ops)
	op := &linear.Operation{Client: c.id, Key: key, Call: c.w.now()}
	switch n := c.rng.IntN(100); {
	case n < 30:
		op.Kind, op.Value = linear.Put, unique+strings.Repeat("_", c.rng.IntN(200))
	case n < 50:
		op.Kind, op.Value, op.Expected = linear.CAS, unique, c.known[key]
	case n < 60:
		op.Kind, op.Value = linear.Append, unique
	default:
		op.Kind = linear.Read
	}
	return op
}

// sampleMost bounds the latencies that are kept.
const sampleMost = 200_000

func (w *workload) count(op *linear.Operation, took time.Duration) {
	switch {
	case op.Outcome == linear.NotApplied:
		w.refused.Add(1)
		return
	case op.Outcome == linear.Unknown:
		w.unknown.Add(1)
		return
	case op.Kind == linear.Read:
		w.reads.Add(1)
	default:
		w.acknowledged.Add(1)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.slowest = max(w.slowest, took)
	if len(w.taken) < sampleMost {
		w.taken = append(w.taken, took)
	} else if n := rand.IntN(int(w.acknowledged.Load() + w.reads.Load())); n < sampleMost {
		w.taken[n] = took
	}
}
