package node

import (
	"errors"
	"math/rand/v2"
	"time"

	"go.uber.org/zap"
)

// Config sets up one member's core and driver. Every limit bounds a queue or a
// buffer (invariant 5).
type Config struct {
	// ID is the raft id of this member, Boot the number of this start of its
	// data directory. Together with a batch number they name a batch of
	// proposals for ever, so Boot must rise with every start.
	ID, Boot uint64
	// Applied is the applied index of the state machine at the start.
	Applied uint64

	// TickInterval is the driver's tick, which is also the heartbeat interval.
	TickInterval time.Duration
	// ElectionTicks without a word from a leader start an election.
	ElectionTicks int
	// InitialTickAdvance lets all but the last tick of the first election
	// timeout pass at once, so that a cluster that starts together elects soon.
	InitialTickAdvance bool
	// PromisedFor is for how long earlier lives of this member may have promised
	// leaders not to help others to win, see SetLeaderLease.
	PromisedFor time.Duration
	// NoPreVote lets a member that misses its leader raise the term without
	// asking first whether it could win. Since that deposes a live leader behind a
	// broken connection, such a member waits for the election timeout.
	NoPreVote bool

	// Pack builds the payload of a log entry from encoded commands.
	Pack func(batch uint64, commands [][]byte) []byte

	// Check refuses a packed batch of another member that must not get into the
	// log: one that cannot be decoded would stop every member that applies it.
	// Default: everything passes.
	Check func(from uint64, batch []byte) error

	// QueueCommandsMax and QueueBytesMax bound the commands that wait to be
	// packed; a full queue refuses with ErrBusy.
	QueueCommandsMax int
	QueueBytesMax    int
	// BatchCommandsMax and BatchBytesMax bound one entry. A single command may
	// exceed BatchBytesMax up to CommandBytesMax.
	BatchCommandsMax int
	BatchBytesMax    int
	CommandBytesMax  int
	// WindowBatches and WindowBytes bound the batches of this member that are
	// proposed and not yet applied.
	WindowBatches int
	WindowBytes   int
	// AppendsMax bounds the appends of a leader that are not yet committed; what
	// comes in meanwhile, from any member, makes the next one.
	AppendsMax int
	// ReadRoundsMax bounds the ReadIndex rounds of this member in flight.
	ReadRoundsMax int
	// InboxMessagesMax and InboxBytesMax bound the messages of peers that wait
	// for the loop; beyond them messages are dropped.
	InboxMessagesMax int
	InboxBytesMax    int
	// WriteBytesMax bounds the entries handed to the log and not yet durable;
	// beyond it appends of the leader are dropped and no batch is started.
	WriteBytesMax int
	// FlushBytes of log entries that were not released cause a flush of the
	// state machine, unless it is durable up to the middle of them, and the
	// release of the log behind it.
	FlushBytes int
	// BacklogBytesMax is how much log that is committed and not applied a follower may
	// have and still acknowledge more, see backlog. It bounds what is applied at once
	// and what is on its way to a follower, too. Default: an eighth of FlushBytes.
	BacklogBytesMax int
	// BacklogTicksMax is for how long a leader waits for a follower that is behind, see
	// backlog. Default: ElectionTicks.
	BacklogTicksMax int
	// FlushEntries of the log cause it as well; 0: their number does not matter.
	FlushEntries int
	// HeldBytesMax bounds the log that is kept for followers that lag or are
	// being sent a snapshot; beyond it they need a newer snapshot.
	HeldBytesMax int
	// CatchUpEntries is the lag, in log entries, from which a follower counts
	// as catching up in events.
	CatchUpEntries uint64

	// Jitter returns a random duration in [0, below). Default: a random one.
	Jitter func(below time.Duration) time.Duration

	// Now is this machine's clock, which never goes back. It has to go on while
	// the process or the machine stands still, and at the rate of the others'
	// clocks, about: leader leases are measured with it, nothing else. Default:
	// the time since the first call of EnsureDefaults.
	Now func() time.Duration

	Logger *zap.Logger
	// OnEvent receives changes of role, leader and progress, in order, from
	// the loop; it must not block.
	OnEvent func(Event)
}

// EnsureDefaults fills every limit that is zero.
func (c *Config) EnsureDefaults() {
	def := func(p *int, v int) {
		if *p == 0 {
			*p = v
		}
	}
	if c.TickInterval == 0 {
		c.TickInterval = 100 * time.Millisecond
	}
	def(&c.ElectionTicks, 10)
	def(&c.QueueCommandsMax, 16<<10)
	def(&c.QueueBytesMax, 64<<20)
	def(&c.BatchCommandsMax, 1024)
	def(&c.BatchBytesMax, 512<<10)
	def(&c.CommandBytesMax, 16<<20)
	def(&c.WindowBatches, 2)
	def(&c.WindowBytes, 16<<20)
	def(&c.AppendsMax, 2)
	def(&c.ReadRoundsMax, 2)
	def(&c.InboxMessagesMax, 4096)
	def(&c.InboxBytesMax, 64<<20)
	def(&c.WriteBytesMax, 64<<20)
	def(&c.FlushBytes, 64<<20)
	def(&c.HeldBytesMax, 8*c.FlushBytes)
	def(&c.BacklogBytesMax, max(c.FlushBytes/8, 1))
	def(&c.BacklogTicksMax, c.ElectionTicks)
	if c.CatchUpEntries == 0 {
		c.CatchUpEntries = 50
	}
	if c.Check == nil {
		c.Check = func(uint64, []byte) error { return nil }
	}
	if c.Jitter == nil {
		c.Jitter = func(below time.Duration) time.Duration { return rand.N(below) }
	}
	if c.Now == nil {
		began := time.Now().Add(-time.Second) // 0 is no time
		c.Now = func() time.Duration { return time.Since(began) }
	}
	if c.Logger == nil {
		c.Logger = zap.NewNop()
	}
	if c.OnEvent == nil {
		c.OnEvent = func(Event) {}
	}
}

// Validate reports every fault at once.
func (c *Config) Validate() error {
	var errs []error
	fail := func(bad bool, text string) {
		if bad {
			errs = append(errs, errors.New("node config: "+text))
		}
	}
	fail(c.ID == 0, "ID must not be 0")
	fail(c.Boot == 0, "Boot must not be 0: boots are counted from 1")
	fail(c.Pack == nil, "Pack is missing")
	fail(c.TickInterval <= 0, "TickInterval must be positive")
	fail(c.ElectionTicks < 2, "ElectionTicks must be at least 2")
	fail(c.PromisedFor < 0, "PromisedFor must not be negative")
	fail(c.FlushEntries < 0, "FlushEntries must not be negative")
	fail(c.WindowBatches >= batchIDSpread, "WindowBatches must stay below the deduplication window")
	for _, l := range []struct {
		value int
		name  string
	}{
		{c.QueueCommandsMax, "QueueCommandsMax"}, {c.QueueBytesMax, "QueueBytesMax"},
		{c.BatchCommandsMax, "BatchCommandsMax"}, {c.BatchBytesMax, "BatchBytesMax"},
		{c.CommandBytesMax, "CommandBytesMax"}, {c.WindowBatches, "WindowBatches"},
		{c.WindowBytes, "WindowBytes"}, {c.ReadRoundsMax, "ReadRoundsMax"},
		{c.AppendsMax, "AppendsMax"},
		{c.InboxMessagesMax, "InboxMessagesMax"}, {c.InboxBytesMax, "InboxBytesMax"},
		{c.WriteBytesMax, "WriteBytesMax"}, {c.FlushBytes, "FlushBytes"},
		{c.HeldBytesMax, "HeldBytesMax"}, {c.BacklogBytesMax, "BacklogBytesMax"}, {c.BacklogTicksMax, "BacklogTicksMax"},
	} {
		fail(l.value <= 0, l.name+" must be positive")
	}
	return errors.Join(errs...)
}

// batchIDSpread is how far the newest batch number of a boot may run ahead of
// the oldest one in flight. The state machine remembers at least this many
// batches for every proposer; an older one counts as seen.
const batchIDSpread = 512
