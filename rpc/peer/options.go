package peer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"go.etcd.io/raft/v3/raftpb"
	"go.uber.org/zap"
	"google.golang.org/grpc/credentials"

	"raftkv/node"
	"raftkv/rpc/h2"
)

// Handler takes what arrives. Its methods are called from goroutines of the
// transport and must return promptly once the node has stopped.
type Handler interface {
	Step(m *raftpb.Message)
	StepForwarded(from uint64, batch []byte)
	// StepLease takes what a member says about leader leases.
	StepLease(from uint64, m node.LeaseMessage)
	// Delivered is called behind these, once for all that came together.
	Delivered()
	ReportUnreachable(id uint64)
	ReportSnapshot(id uint64, ok bool)
	// Holders returns how many of all members hold the log up to index when
	// all do or ctx ends.
	Holders(ctx context.Context, index uint64) (have, total int, err error)
}

// Caller is what a member says of itself before it is believed.
type Caller struct {
	ID uint64
	// Incarnation names its data directory; Boot counts the starts of that, 0:
	// unknown.
	Incarnation, Boot uint64
	// NewestVersion is the newest cluster version that its program knows, 0:
	// unknown.
	NewestVersion uint32
	// PeerURLs are where it is dialled; none: unknown.
	PeerURLs []string
}

// Membership decides who may talk. Calls may run at once.
type Membership interface {
	// Check returns nil if the member belongs to the cluster, its data directory
	// is the one it always had, not put back to how it once was, and its program
	// knows the cluster's version. Else it is an error that wraps
	// ErrUnknownMember, ErrRemovedMember, ErrOtherIncarnation, ErrOldDirectory or
	// ErrOldVersion. Any other error means that it cannot tell now.
	Check(c Caller) error
	// Confirm answers a member that asks whether it is new: true if its data
	// directory is the first or only one that was ever seen for it, false if
	// the member is known as started with another. Errors as of Check.
	Confirm(c Caller) (bool, error)
}

// Snapshots opens our own snapshots for others, and stages theirs.
type Snapshots interface {
	// Open returns the snapshot's files as one sequence of bytes, the same at
	// every opening, and its length. Only Seek from the start is used.
	Open(s *raftpb.Snapshot) (archive io.ReadSeekCloser, sizeBytes int64, err error)
	// Discard is told that a receiver found this member's snapshot damaged.
	Discard(s *raftpb.Snapshot)
	// Stage gets that sequence, or what it lacks of it, at the receiver; it
	// returns nil when the snapshot is verified and durable. fetch asks for
	// ranges (offset, length), to be read to the end before the next call.
	// remainingBytes is all that is missing; 0: not known yet.
	Stage(ctx context.Context, s *raftpb.Snapshot, fetch func(ranges [][2]int64, remainingBytes int64) (io.Reader, error)) error
}

// Hooks are called from goroutines of the transport; they must not block. Nil
// hooks are not called.
type Hooks struct {
	// PeerUp means that the urgent lane to the member works.
	PeerUp func(id uint64)
	// PeerDown means that it broke. Reset tells that the other side closed the
	// connection, as the kernel does when a process dies; without it the
	// network may be at fault. Not called for a member that was removed or
	// updated, nor by Close.
	PeerDown func(id uint64, reset bool)
	// Rejected means that a member refused us for a reason that will not go
	// away: we were removed, run on another data directory than before, or are
	// too old for the cluster.
	Rejected func(r *Refused)
	// Snapshot tells how a transfer proceeds, at either end.
	Snapshot func(p SnapshotProgress)
}

// Options configure a Transport.
type Options struct {
	ClusterID   uint64
	MemberID    uint64
	Incarnation uint64
	// Boot is the number of this start of the data directory.
	Boot uint64
	// NewestVersion is the newest cluster version that this program knows.
	NewestVersion uint32
	// PeerURLs are where this member is dialled; nil: it tells nobody.
	PeerURLs   func() []string
	Membership Membership
	// Reconfiguration may be nil: then nobody is answered.
	Reconfiguration Reconfiguration
	Snapshots       Snapshots
	// Leases answers questions about leases; nil: they are refused.
	Leases Leases
	// Hashes answers for the key space; nil: it is refused.
	Hashes Hashes
	Hooks  Hooks
	Logger *zap.Logger
	// Credentials secure the connections we dial to URLs with the scheme https,
	// which need them; see NewCredentials. URLs with http are plain text.
	Credentials credentials.TransportCredentials
	// Dial opens connections; nil: TCP.
	Dial func(ctx context.Context, address string) (net.Conn, error)

	QueueMessagesMax int
	UrgentBytesMax   int
	// BulkBytesMax should be beyond raft's bytes in flight for one member;
	// else a fast sender loses appends.
	BulkBytesMax int
	// FrameBytes is the size at which a sender stops adding messages to a
	// frame.
	FrameBytes int
	// ChunkBytes is the size of one part of a snapshot.
	ChunkBytes         int
	HoldersInFlightMax int
	// SnapshotRateBytes is what all snapshots that this member sends may take
	// of the network in a second; negative: no bound.
	SnapshotRateBytes int64
	// Damaged tells whether an error of Stage means that the sender's snapshot
	// is not what it promised. Nil: never.
	Damaged func(err error) bool

	// HoldersTimeout limits a question for holders; HoldersWait, which must be
	// shorter, how long we let our handler wait when asked.
	HoldersTimeout   time.Duration
	HoldersWait      time.Duration
	HandshakeTimeout time.Duration
	BackoffBase      time.Duration
	BackoffMax       time.Duration
	// StallTimeout is how long a receiver may not take the next part of a
	// snapshot, AnswerTimeout how long it may work on what it got.
	StallTimeout  time.Duration
	AnswerTimeout time.Duration
	// ProgressInterval is the time between two words on a transfer.
	ProgressInterval time.Duration
	// KeepaliveTimeout is how long data may stay unacknowledged before a
	// connection counts as dead.
	KeepaliveTimeout time.Duration
}

// MaxFrameBytes is the largest message on the wire. A raft message beyond it
// cannot be replicated, so entries must stay far below.
const MaxFrameBytes = 32 << 20

// DefaultSnapshotRateBytes is the default of Options.SnapshotRateBytes: about a
// quarter of what a network of 1 Gbit/s carries, so that requests come first.
const DefaultSnapshotRateBytes = 32 << 20

const (
	// keepaliveInterval is the shortest that gRPC allows a client.
	keepaliveInterval = 10 * time.Second
	streamWindowBytes = 4 << 20
	connWindowBytes   = 16 << 20
)

// EnsureDefaults fills in what was left zero.
func (o *Options) EnsureDefaults() {
	if o.Logger == nil {
		o.Logger = zap.NewNop()
	}
	setDefault(&o.QueueMessagesMax, 4096)
	setDefault(&o.UrgentBytesMax, 4<<20)
	setDefault(&o.BulkBytesMax, 64<<20)
	setDefault(&o.FrameBytes, 1<<20)
	setDefault(&o.ChunkBytes, 128<<10)
	setDefault(&o.HoldersInFlightMax, 64)
	setDefault(&o.HoldersTimeout, 250*time.Millisecond)
	setDefault(&o.HoldersWait, 100*time.Millisecond)
	setDefault(&o.HandshakeTimeout, 5*time.Second)
	setDefault(&o.BackoffBase, 20*time.Millisecond)
	setDefault(&o.BackoffMax, time.Second)
	setDefault(&o.KeepaliveTimeout, 5*time.Second)
	setDefault(&o.StallTimeout, time.Minute)
	setDefault(&o.AnswerTimeout, 10*time.Minute)
	setDefault(&o.ProgressInterval, 5*time.Second)
	setDefault(&o.SnapshotRateBytes, DefaultSnapshotRateBytes)
	if o.Damaged == nil {
		o.Damaged = func(error) bool { return false }
	}
}

func setDefault[T comparable](v *T, def T) {
	var zero T
	if *v == zero {
		*v = def
	}
}

// Validate reports all faults at once.
func (o *Options) Validate() error {
	var faults []error
	check := func(ok bool, format string, args ...any) {
		if !ok {
			faults = append(faults, fmt.Errorf("peer transport: "+format, args...))
		}
	}
	check(o.MemberID != 0, "no member id given")
	check(o.Membership != nil, "no membership given")
	check(o.Snapshots != nil, "no snapshots given")
	check(o.QueueMessagesMax > 0 && o.UrgentBytesMax > 0 && o.BulkBytesMax > 0, "queues need room")
	check(o.FrameBytes > 0 && o.FrameBytes <= MaxFrameBytes/2, "frames of %d bytes are out of bounds", o.FrameBytes)
	check(o.ChunkBytes >= 1<<10 && o.ChunkBytes <= 1<<20, "chunks of %d bytes are out of bounds", o.ChunkBytes)
	check(o.HoldersInFlightMax > 0, "questions for holders need a bound")
	check(o.HoldersWait < o.HoldersTimeout, "waiting %v for holders leaves no time to answer within %v", o.HoldersWait, o.HoldersTimeout)
	check(o.BackoffBase > 0 && o.BackoffBase <= o.BackoffMax, "backoff from %v to %v", o.BackoffBase, o.BackoffMax)
	check(o.HandshakeTimeout > 0 && o.KeepaliveTimeout > 0 && o.StallTimeout > 0 && o.AnswerTimeout > 0, "timeouts must be positive")
	check(o.ProgressInterval > 0, "the interval of progress must be positive")
	return errors.Join(faults...)
}

// AdjustServer gives the settings of a gRPC server what the peer service needs:
// room for large frames, windows for large appends, and tolerance of our
// keepalive, which it would otherwise punish by closing connections. Clients that
// share the server keep the keepalive rules that they were promised.
func AdjustServer(c *h2.Config, shared bool) {
	c.MessageBytesMax = MaxFrameBytes
	c.StreamWindowBytes, c.ConnWindowBytes = streamWindowBytes, connWindowBytes
	ours := h2.Config{PingsMinTime: keepaliveInterval / 2, KeepaliveInterval: keepaliveInterval, KeepaliveTimeout: keepaliveInterval / 2}
	if shared {
		ours.PingsMinTime = min(ours.PingsMinTime, c.PingsMinTime)
		ours.KeepaliveInterval = min(ours.KeepaliveInterval, c.KeepaliveInterval)
		ours.KeepaliveTimeout = min(ours.KeepaliveTimeout, c.KeepaliveTimeout)
	}
	c.PingsMinTime, c.PingsWithoutStream = ours.PingsMinTime, true
	c.KeepaliveInterval, c.KeepaliveTimeout = ours.KeepaliveInterval, ours.KeepaliveTimeout
}
