package kvload

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/status"

	"raftkv/bench/internal/load"
	"raftkv/bench/internal/unary"
	raftclient "raftkv/client"
)

// Spec describes the operations.
type Spec struct {
	// Operation, if not empty, is done instead of puts and gets.
	Operation Operation `json:"operation,omitempty"`
	// API is how puts and gets reach the servers.
	API API `json:"api,omitempty"`
	// Distribution says how keys are drawn.
	Distribution Distribution `json:"distribution,omitempty"`
	// ReadPercent of the operations are gets, the others puts: 0 to 100.
	ReadPercent int `json:"read_percent"`
	// Serializable gets may be answered from any member's own state; otherwise
	// they are linearizable.
	Serializable bool `json:"serializable,omitempty"`
	// AbsentKeys makes gets ask for keys that do not exist.
	AbsentKeys bool `json:"absent_keys,omitempty"`
	// PageKeys, if not 0, makes every operation read the next page of so many
	// keys of a listing of all keys, linearizably at its first page. OpRange reads
	// so many keys wherever they are drawn.
	PageKeys int `json:"page_keys,omitempty"`
	// Versions is how often every key is written before the run, at least once.
	Versions int `json:"versions,omitempty"`
	// Keys is the number of different keys.
	Keys           int    `json:"keys"`
	ValueSizeBytes int    `json:"value_size_bytes"`
	Seed           uint64 `json:"seed"`
}

// Bounds of a Spec. A server's default request limit is 1.5 MiB.
const (
	maxKeys           = 1_000_000_000
	maxValueSizeBytes = 1 << 20
	maxVersions       = 1000
)

// Validate reports all faults at once.
func (s Spec) Validate() error {
	faults := []error{s.Operation.validate(), s.Distribution.validate(), s.API.validate(s)}
	if s.ReadPercent < 0 || s.ReadPercent > 100 {
		faults = append(faults, fmt.Errorf("reads must be between 0 and 100 percent, not %d", s.ReadPercent))
	}
	if s.Keys < 1 || s.Keys > maxKeys {
		faults = append(faults, fmt.Errorf("keys must be between 1 and %d, not %d", maxKeys, s.Keys))
	}
	if s.ValueSizeBytes < 0 || s.ValueSizeBytes > maxValueSizeBytes {
		faults = append(faults, fmt.Errorf("value-size must be between 0 and %d bytes, not %d", maxValueSizeBytes, s.ValueSizeBytes))
	}
	if s.PageKeys < 0 || s.Versions < 0 || s.Versions > maxVersions {
		faults = append(faults, fmt.Errorf("page-keys must not be negative, versions must be between 0 and %d", maxVersions))
	}
	if s.Operation == OpRange && (s.PageKeys < 1 || s.PageKeys > s.Keys) {
		faults = append(faults, fmt.Errorf("page-keys of a range must be between 1 and all %d keys, not %d", s.Keys, s.PageKeys))
	}
	return errors.Join(faults...)
}

// NeedsKeys says whether the keys must exist before the run.
func (s Spec) NeedsKeys() bool {
	return s.ReadPercent > 0 && !s.AbsentKeys || s.PageKeys > 0 || s.Versions > 0 || s.Operation == OpTxn || s.Operation == OpSTM
}

// errWrongAnswer is a reply that arrived but cannot be right.
var errWrongAnswer = errors.New(ClassWrongAnswer)

// ClassWrongAnswer is the class of errors that no failure of a server excuses.
const ClassWrongAnswer = "wrong answer"

// Workload makes operations on connections. It satisfies load.Workload.
type Workload struct {
	spec    Spec
	conns   *Conns
	clients int
	pool    valuePool
	zipf    *zipf // nil: uniform
	kinds   []string
	// putKind and getKind are indices into kinds.
	putKind, getKind int
	native           native
	lean             []*unary.Conn
}

// New returns a workload for a valid spec and a number of clients.
func New(spec Spec, conns *Conns, clients int) *Workload {
	w := &Workload{
		spec:    spec,
		conns:   conns,
		clients: clients,
		pool:    newValuePool(spec.Seed, spec.ValueSizeBytes),
	}
	if spec.Distribution == Zipfian {
		w.zipf = newZipf(spec.Keys)
	}
	if spec.Operation == OpTxnMixed {
		w.kinds, w.getKind = []string{"write", "read"}, 1
		return w
	}
	if spec.Operation != OpPutGet {
		w.kinds = []string{string(spec.Operation)}
		return w
	}
	switch spec.ReadPercent {
	case 0:
		w.kinds = []string{"put"}
		if spec.PageKeys > 0 {
			w.kinds = []string{"page"}
		}
	case 100:
		w.kinds = []string{"get"}
	default:
		w.kinds = []string{"put", "get"}
		w.getKind = 1
	}
	return w
}

// Kinds satisfies load.Workload: only the kinds that the mixture has.
func (w *Workload) Kinds() []string { return w.kinds }

// ErrorClass satisfies load.Workload.
func (w *Workload) ErrorClass(err error) string {
	if errors.Is(err, errWrongAnswer) {
		return ClassWrongAnswer
	}
	return status.Code(err).String()
}

// NewClient satisfies load.Workload.
func (w *Workload) NewClient(id int) load.Op {
	c := &client{
		workload: w,
		id:       id,
		// The high bit keeps these streams apart from those of Preload.
		rng: rand.New(rand.NewPCG(w.spec.Seed, 1<<63|uint64(id))),
	}
	c.conns = w.conns.of(id, w.clients)
	for _, conn := range c.conns {
		c.members = append(c.members, etcdserverpb.NewKVClient(conn))
	}
	if w.spec.API == APILean {
		c.members = nil
		for _, conn := range inTurn(w.lean, id, w.clients) {
			c.members = append(c.members, etcdserverpb.NewKVClient(conn))
		}
	}
	if w.spec.API == APINative {
		c.session = w.native.sessions[id%len(w.native.sessions)]
		return c.nativeNext
	}
	return c.op()
}

// client is the state of one client.
type client struct {
	workload *Workload
	id       int
	session  *raftclient.Session // of the native API
	conns    []*grpc.ClientConn
	members  []etcdserverpb.KVClient // of conns; used in turn
	turn     int
	rng      *rand.Rand
}

// member is the member whose turn it is.
func (c *client) member() etcdserverpb.KVClient {
	kv := c.members[c.turn]
	c.turn = (c.turn + 1) % len(c.members)
	return kv
}

// conn is the connection whose turn it is.
func (c *client) conn() *grpc.ClientConn {
	conn := c.conns[c.turn]
	c.turn = (c.turn + 1) % len(c.conns)
	return conn
}

// key draws the number of a key.
func (c *client) key() int {
	if z := c.workload.zipf; z != nil {
		return z.spread(z.rank(c.rng))
	}
	return c.rng.IntN(c.workload.spec.Keys)
}

func (c *client) next(ctx context.Context) (int, error) {
	kv, n := c.member(), c.key()
	if c.rng.IntN(100) < c.workload.spec.ReadPercent {
		return c.workload.getKind, c.workload.get(ctx, kv, n)
	}
	return c.workload.putKind, c.workload.put(ctx, kv, n, c.rng)
}

func (w *Workload) put(ctx context.Context, kv etcdserverpb.KVClient, n int, rng *rand.Rand) error {
	resp, err := kv.Put(ctx, &etcdserverpb.PutRequest{Key: presentKey(n), Value: w.pool.value(rng)})
	if err != nil {
		return err
	}
	if resp.GetHeader().GetRevision() < 1 {
		return fmt.Errorf("%w: put answered without a revision", errWrongAnswer)
	}
	return nil
}

func (w *Workload) get(ctx context.Context, kv etcdserverpb.KVClient, n int) error {
	key := presentKey(n)
	if w.spec.AbsentKeys {
		key = absentKey(n)
	}
	resp, err := kv.Range(ctx, &etcdserverpb.RangeRequest{Key: key, Serializable: w.spec.Serializable})
	if err != nil {
		return err
	}
	return checkGet(w.spec, key, resp)
}

// checkGet holds a reply against what the key must have (invariant 1).
func checkGet(spec Spec, key []byte, resp *etcdserverpb.RangeResponse) error {
	want := 1
	if spec.AbsentKeys {
		want = 0
	}
	if len(resp.GetKvs()) != want || resp.GetCount() != int64(want) {
		return fmt.Errorf("%w: get of %s returned %d keys and count %d, want %d",
			errWrongAnswer, key, len(resp.GetKvs()), resp.GetCount(), want)
	}
	for _, kv := range resp.GetKvs() {
		if !bytes.Equal(kv.GetKey(), key) {
			return fmt.Errorf("%w: get of %s returned %q", errWrongAnswer, key, kv.GetKey())
		}
		if len(kv.GetValue()) != spec.ValueSizeBytes {
			return fmt.Errorf("%w: %s has %d bytes, want %d (loaded with another --value-size?)",
				errWrongAnswer, key, len(kv.GetValue()), spec.ValueSizeBytes)
		}
	}
	return nil
}

// Keys of both sorts have 16 bytes (invariant 2).
func presentKey(n int) []byte { return fmt.Appendf(make([]byte, 0, 16), "bench/%010d", n) }
func absentKey(n int) []byte  { return fmt.Appendf(make([]byte, 0, 16), "nokey/%010d", n) }

// valuePool hands out values as slices of one block of random bytes: making
// fresh random bytes for every put would cost the generator more than sending
// them.
type valuePool struct {
	block     []byte
	sizeBytes int
}

const valuePoolBytes = 1 << 20

func newValuePool(seed uint64, sizeBytes int) valuePool {
	var key [32]byte
	binary.LittleEndian.PutUint64(key[:], seed)
	block := make([]byte, valuePoolBytes+sizeBytes)
	source := rand.NewChaCha8(key)
	// ChaCha8.Read always fills the slice and never fails.
	_, _ = source.Read(block)
	return valuePool{block: block, sizeBytes: sizeBytes}
}

// value is read only.
func (p valuePool) value(rng *rand.Rand) []byte {
	at := rng.IntN(valuePoolBytes)
	return p.block[at : at+p.sizeBytes : at+p.sizeBytes]
}
