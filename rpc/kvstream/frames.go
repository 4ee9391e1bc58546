package kvstream

import (
	"context"
	"errors"
	"io"
	"sync"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"golang.org/x/sync/semaphore"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"raftkv/rpc/kvstream/frames"
	"raftkv/rpc/kvstream/kvpb"
	"raftkv/rpc/request"
	"raftkv/statemachine"
	"raftkv/statemachine/mvcc"
)

const (
	// framesInFlightMax and frameBytesMax bound what one stream has in flight;
	// beyond, the stream is not read, and flow control stops the client.
	framesInFlightMax = 64
	frameBytesMax     = 16 << 20
	// answerBytesMax bounds the values that one frame reads: what is beyond is
	// refused, but for the first.
	answerBytesMax = 4 << 20
)

// Waiting is a command that was handed over.
type Waiting interface {
	// Wait returns what Backend.Propose returns.
	Wait(ctx context.Context) (result any, index uint64, err error)
}

// flow is one stream of frames.
type flow struct {
	*Native
	stream grpc.BidiStreamingServer[kvpb.Frame, kvpb.FrameAnswer]
	slots  chan struct{}
	bytes  *semaphore.Weighted

	waiting sync.WaitGroup // frames in flight
	mu      struct {
		sync.Mutex
		ended bool // no further frame begins
	}
	sending    sync.Mutex
	sendFailed bool // guarded by sending
}

// Frames serves a stream of frames. Writes are handed over in the order in which
// their frames come in, so those of a session take effect without gaps; each
// frame then waits on a goroutine of its own.
func (s *Native) Frames(stream grpc.BidiStreamingServer[kvpb.Frame, kvpb.FrameAnswer]) error {
	f := &flow{Native: s, stream: stream, slots: make(chan struct{}, framesInFlightMax), bytes: semaphore.NewWeighted(frameBytesMax)}
	over := make(chan error, 1)
	// It ends with the stream, which this method's return ends.
	go func() { over <- f.receive() }()
	var err error
	select {
	case err = <-over:
	case <-s.backend.Stopping():
		err = rpctypes.ErrGRPCStopped
	}
	f.mu.Lock()
	f.mu.ended = true
	f.mu.Unlock()
	f.waiting.Wait()
	return err
}

// receive begins what comes in, until the client is done or the stream breaks.
func (f *flow) receive() error {
	ctx := f.stream.Context()
	for {
		frame, err := f.stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		weight := min(int64(len(frame.GetWrites())+len(frame.GetReads())), frameBytesMax)
		if err := f.bytes.Acquire(ctx, weight); err != nil {
			return status.FromContextError(err).Err()
		}
		select {
		case f.slots <- struct{}{}:
		case <-ctx.Done():
			return status.FromContextError(ctx.Err()).Err()
		}
		f.mu.Lock()
		if f.mu.ended {
			f.mu.Unlock()
			return nil
		}
		f.waiting.Add(1)
		f.mu.Unlock()
		begun := f.begin(ctx, frame)
		go func() {
			defer f.waiting.Done()
			f.send(begun.finish())
			<-f.slots
			f.bytes.Release(weight)
		}()
	}
}

// send sends an answer. A stream that cannot be written to is about to end.
func (f *flow) send(a *kvpb.FrameAnswer) {
	f.sending.Lock()
	defer f.sending.Unlock()
	if f.sendFailed {
		return
	}
	f.sendFailed = f.stream.Send(a) != nil
}

// begun is a frame in flight.
type begun struct {
	f      *flow
	frame  *kvpb.Frame
	ctx    context.Context
	cancel context.CancelFunc
	id     request.Identity
	writes Waiting // nil if there are none
	err    error   // what keeps it from being served
	// refusal is what the state machine said, if it refused the writes; recorded:
	// they had been applied before.
	refusal  error
	recorded bool
	answer   *kvpb.FrameAnswer
}

// begin checks a frame and hands its writes over.
func (f *flow) begin(ctx context.Context, frame *kvpb.Frame) *begun {
	if n := len(frame.GetWrites()); n > 0 {
		f.metrics.bytes.Observe(float64(n))
	}
	b := &begun{f: f, frame: frame, answer: &kvpb.FrameAnswer{Id: frame.GetId()}}
	b.ctx, b.cancel = f.gate.WithTimeout(ctx)
	b.err = b.start()
	return b
}

func (b *begun) start() error {
	frame, gate := b.frame, b.f.gate
	writes := frame.GetSequence() != 0 || len(frame.GetWrites()) > 0
	serves := request.VotersOnly
	if frame.GetSerializable() && !writes {
		serves = request.LearnersToo
	}
	if err := gate.Admit(b.ctx, serves); err != nil {
		return err
	}
	if err := b.f.sameCluster(frame.GetClusterId()); err != nil {
		return err
	}
	if (frame.GetSequence() == 0) != (frame.GetSessionId() == 0) && writes {
		return status.Error(codes.InvalidArgument, "raftkv: writes of a session need a sequence number from 1, others none")
	}
	if !writes && len(frame.GetReads()) == 0 {
		return status.Error(codes.InvalidArgument, "raftkv: frame has neither writes nor reads")
	}
	if len(frame.GetReads()) > 0 {
		var err error
		if b.id, err = gate.Identify(b.ctx); err != nil {
			return err
		}
	}
	if !writes {
		return nil
	}
	command, err := gate.EncodeFrame(b.ctx, request.FrameWrites{
		Session: frame.GetSessionId(), Sequence: frame.GetSequence(), Acknowledged: frame.GetAcknowledged(), Writes: frame.GetWrites(),
	})
	if err != nil {
		return err
	}
	frame.Writes = nil // the command has them
	if b.writes, err = b.f.backend.Enqueue(command); err != nil {
		return gate.WriteError(err)
	}
	return nil
}

// finish waits for the writes, serves the reads and returns the answer.
func (b *begun) finish() *kvpb.FrameAnswer {
	defer b.cancel()
	if b.err == nil {
		b.err = b.work()
	}
	a := b.answer
	a.ClusterId, a.MemberId = b.f.backend.ClusterID(), b.f.backend.MemberID()
	a.LeaderId, a.RaftTerm = b.f.backend.Leader(), b.f.backend.Term()
	if b.err != nil {
		s := status.Convert(b.err)
		a.Code, a.Message = uint32(s.Code()), s.Message()
	}
	b.f.metrics.ended(b)
	return a
}

// work does reads and writes side by side: a read waits for its round while the
// writes are on their way.
func (b *begun) work() error {
	keys, err := b.reads()
	if err != nil {
		return err
	}
	if b.writes == nil {
		return b.serveReads(keys)
	}
	var read chan error
	if len(keys) > 0 {
		read = make(chan error, 1)
		go func() { read <- b.serveReads(keys) }()
	}
	err = b.awaitWrites()
	if read != nil {
		err = errors.Join(err, <-read)
	}
	return err
}

func (b *begun) awaitWrites() error {
	result, index, err := b.writes.Wait(b.ctx)
	if err == nil {
		if refused, ok := result.(error); ok {
			err, b.refusal = refused, refused
		}
	}
	if err != nil {
		return b.f.gate.WriteError(err)
	}
	frame, ok := result.(*statemachine.FrameResult)
	if !ok {
		return status.Errorf(codes.Internal, "raftkv: the state machine answered a frame with %T", result)
	}
	b.answer.Writes, b.answer.Index, b.recorded = frame.Writes, index, frame.Recorded
	if b.frame.GetCountHolders() {
		b.answer.Holders, b.answer.Members = b.f.countHolders(b.ctx, index)
	}
	return nil
}

// reads returns the keys to be read.
func (b *begun) reads() (keys [][]byte, err error) {
	for rest := b.frame.GetReads(); len(rest) > 0; {
		var key []byte
		if key, rest, err = frames.NextRead(rest); err != nil {
			return nil, status.Errorf(codes.InvalidArgument, "raftkv: read %d of the frame: %v", len(keys), err)
		}
		if keys = append(keys, key); len(keys) > b.f.gate.Config().FrameOpsMax {
			return nil, status.Errorf(codes.InvalidArgument, "raftkv: frame has more than %d reads; send several frames", b.f.gate.Config().FrameOpsMax)
		}
	}
	return keys, nil
}

func (b *begun) serveReads(keys [][]byte) error {
	if !b.frame.GetSerializable() {
		if err := b.f.backend.ReadIndex(b.ctx); err != nil {
			return b.f.gate.ReadError(b.ctx, err)
		}
	}
	var results []byte
	var r frames.ReadResult
	revision, err := b.f.backend.GetKeys(keys, func(i int, kv *mvcc.KeyValue) error {
		r = frames.ReadResult{}
		switch {
		case len(keys[i]) == 0:
			r.Refusal = int32(kvpb.Refusal_EMPTY_KEY)
		case !b.f.gate.MayRead(b.id, keys[i]):
			r.Refusal = int32(kvpb.Refusal_PERMISSION_DENIED)
		case kv != nil && len(results) > 0 && len(results)+len(kv.Value) > answerBytesMax:
			r.Refusal = int32(kvpb.Refusal_ANSWER_TOO_LARGE)
		case kv != nil:
			r = frames.ReadResult{Value: kv.Value, CreateRevision: kv.CreateRevision, ModRevision: kv.Revision.Main, Version: kv.Version, Lease: kv.Lease}
		}
		results = frames.AppendReadResult(results, &r)
		return b.ctx.Err()
	})
	if err != nil {
		return b.f.gate.ReadError(b.ctx, err)
	}
	b.answer.Reads, b.answer.Revision = results, revision
	return nil
}
