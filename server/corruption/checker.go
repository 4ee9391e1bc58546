package corruption

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"go.uber.org/zap"

	"raftkv/statemachine"
)

// Member is the member that checks. Calls may run at once.
type Member interface {
	ID() uint64
	Leads() bool
	// Peers are all other members.
	Peers() []uint64
	// HashKV hashes the key space up to a revision, 0 for the newest.
	HashKV(ctx context.Context, revision int64) (statemachine.KVHash, error)
	// CompactionHashes are those kept of compactions, the newest first.
	CompactionHashes() []statemachine.KVHash
	// AskHash asks another member for its HashKV. ErrCompacted, ErrFutureRevision
	// and ErrCorrupt of package statemachine are told apart.
	AskHash(ctx context.Context, peer uint64, revision int64) (statemachine.KVHash, error)
	// Confirm returns when this member has applied all that was committed before.
	Confirm(ctx context.Context) error
	Revision() int64
	CompactedRevision() int64
	// SetCorrupt raises the alarm for a member.
	SetCorrupt(ctx context.Context, member uint64) error
}

// Config says what is checked.
type Config struct {
	// Interval is that of the periodic check, CompactionInterval that of the
	// compaction check; 0: never.
	Interval, CompactionInterval time.Duration
	// Timeout bounds one check; 0: DefaultTimeout.
	Timeout time.Duration
	Logger  *zap.Logger
}

// DefaultTimeout lets a member read some hundred gigabytes.
const DefaultTimeout = 30 * time.Minute

// EnsureDefaults fills what is not set.
func (c *Config) EnsureDefaults() {
	if c.Timeout == 0 {
		c.Timeout = DefaultTimeout
	}
	if c.Logger == nil {
		c.Logger = zap.NewNop()
	}
}

// Checker runs the checks of one member.
type Checker struct {
	cfg    Config
	member Member
	logger *zap.Logger
	// checked is the newest compaction of which all members had the same hash. It
	// belongs to Run.
	checked int64
}

// New returns a Checker; Run runs it.
func New(cfg Config, member Member) *Checker {
	cfg.EnsureDefaults()
	return &Checker{cfg: cfg, member: member, logger: cfg.Logger}
}

// Run checks until ctx ends, whenever the member leads.
func (c *Checker) Run(ctx context.Context) {
	periodic, stopPeriodic := ticks(c.cfg.Interval)
	defer stopPeriodic()
	compaction, stopCompaction := ticks(c.cfg.CompactionInterval)
	defer stopCompaction()
	for {
		check := c.Compaction
		select {
		case <-ctx.Done():
			return
		case <-periodic:
			check = c.Periodic
		case <-compaction:
		}
		if !c.member.Leads() {
			continue
		}
		if err := check(ctx); err != nil && ctx.Err() == nil {
			c.logger.Warn("a corruption check failed", zap.Error(err))
		}
	}
}

// ticks are those of a ticker, or none if it is off.
func ticks(every time.Duration) (<-chan time.Time, func()) {
	if every <= 0 {
		return nil, func() {}
	}
	t := time.NewTicker(every)
	return t.C, t.Stop
}

// answer is what another member said.
type answer struct {
	peer uint64
	hash statemachine.KVHash
	err  error
}

// ask asks all other members at once.
func (c *Checker) ask(ctx context.Context, revision int64) []answer {
	peers := c.member.Peers()
	answers := make([]answer, len(peers))
	var asked sync.WaitGroup
	for i, peer := range peers {
		asked.Go(func() {
			hash, err := c.member.AskHash(ctx, peer, revision)
			answers[i] = answer{peer, hash, err}
		})
	}
	asked.Wait()
	return answers
}

// compares tells whether two hashes cover the same.
func compares(a, b statemachine.KVHash) bool {
	return a.HashRevision == b.HashRevision && a.CompactRevision == b.CompactRevision
}

// Initial compares this member with all others that answer. An error says that it
// differs from one of them, or that its own key space cannot be read.
func (c *Checker) Initial(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, c.cfg.Timeout)
	defer cancel()
	c.logger.Info("starting initial corruption check")
	own, err := c.member.HashKV(ctx, 0)
	if err != nil {
		return fmt.Errorf("initial corruption check: %w", err)
	}
	var differ []uint64
	for _, a := range c.ask(ctx, own.HashRevision) {
		switch {
		case a.err != nil:
			c.logger.Warn("a member is left out of the initial corruption check", member(a.peer), zap.Error(a.err))
		case !compares(own, a.hash):
			c.logger.Warn("a member is left out of the initial corruption check: it has compacted another revision",
				member(a.peer), zap.Int64("compact-revision", own.CompactRevision), zap.Int64("its-compact-revision", a.hash.CompactRevision))
		case own.Hash != a.hash.Hash:
			differ = append(differ, a.peer)
		}
	}
	if len(differ) > 0 {
		return fmt.Errorf("initial corruption check: %w: at revision %d this member has hash %08x, member %x has another; remove the one that is damaged and add it again with an empty data directory",
			ErrDiffers, own.HashRevision, own.Hash, differ)
	}
	c.logger.Info("initial corruption checking passed; no corruption", zap.Int64("revision", own.HashRevision))
	return nil
}

// ErrDiffers: this member holds something else than another one.
var ErrDiffers = errors.New("the data of the members differ")

// Periodic compares all members at the newest revision of this one, which leads.
func (c *Checker) Periodic(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, c.cfg.Timeout)
	defer cancel()
	own, err := c.member.HashKV(ctx, 0)
	if errors.Is(err, statemachine.ErrCorrupt) {
		return errors.Join(err, c.raise(ctx, c.member.ID(), err.Error()))
	}
	if err != nil {
		return err
	}
	answers := c.ask(ctx, own.HashRevision)
	// What the others had applied by then is committed, so that this member has
	// it now.
	if err := c.member.Confirm(ctx); err != nil {
		return err
	}
	faults := c.ahead(answers)
	checked, differ := c.compare(own, answers)
	for id, why := range differ {
		faults[id] = why
	}
	c.logger.Info("finished peer corruption check", zap.Int("number-of-peers-checked", checked), zap.Int64("revision", own.HashRevision))
	return c.raiseAll(ctx, faults)
}

// ahead finds members that hold what was never committed.
func (c *Checker) ahead(answers []answer) map[uint64]string {
	faults := map[uint64]string{}
	for _, a := range answers {
		switch {
		case a.err != nil:
		case a.hash.Revision > c.member.Revision():
			faults[a.peer] = "its revision is above the leader's"
		case a.hash.CompactRevision > c.member.CompactedRevision():
			faults[a.peer] = "its compacted revision is above the leader's"
		}
	}
	return faults
}

// Compaction compares the hashes that all members computed of a compaction, of the
// newest that all have.
func (c *Checker) Compaction(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, c.cfg.Timeout)
	defer cancel()
	hashes := c.member.CompactionHashes()
	for i, own := range hashes {
		if own.HashRevision <= c.checked {
			hashes = hashes[:i]
			break
		}
	}
	c.logger.Info("starting compact hash check", zap.Int("number-of-hashes", len(hashes)))
	compared := 0
	for _, own := range hashes {
		answers := c.ask(ctx, own.HashRevision)
		compared++
		checked, faults := c.compare(own, answers)
		if len(faults) > 0 {
			c.logger.Error("Detected compaction hash mismatch", zap.Int64("revision", own.HashRevision), zap.Int("corrupt-members", len(faults)))
			c.checked = own.HashRevision
			c.finished(compared)
			return c.raiseAll(ctx, faults)
		}
		if checked == len(answers) {
			c.checked = own.HashRevision
			break
		}
	}
	c.finished(compared)
	return nil
}

func (c *Checker) finished(hashes int) {
	c.logger.Info("finished compaction hash check", zap.Int("number-of-hashes-checked", hashes))
}

// compare returns how many others could be compared, and who is corrupt, with the
// reason.
func (c *Checker) compare(own statemachine.KVHash, answers []answer) (checked int, faults map[uint64]string) {
	faults = map[uint64]string{}
	holders := map[uint32][]uint64{own.Hash: {c.member.ID()}}
	for _, a := range answers {
		switch {
		case errors.Is(a.err, statemachine.ErrCorrupt):
			faults[a.peer] = "its key space contradicts itself"
			checked++
		case a.err != nil:
			c.logger.Warn("a member is left out of a corruption check", member(a.peer), zap.Int64("revision", own.HashRevision), zap.Error(a.err))
		case !compares(own, a.hash):
			c.logger.Warn("a member is left out of a corruption check: it has compacted another revision", member(a.peer),
				zap.Int64("compact-revision", own.CompactRevision), zap.Int64("its-compact-revision", a.hash.CompactRevision))
		default:
			checked++
			holders[a.hash.Hash] = append(holders[a.hash.Hash], a.peer)
		}
	}
	if len(holders) == 1 {
		return checked, faults
	}
	majority := (len(answers)+1)/2 + 1
	sound := slices.ContainsFunc(values(holders), func(ids []uint64) bool { return len(ids) >= majority })
	for hash, ids := range holders {
		switch {
		case sound && len(ids) < majority:
			for _, id := range ids {
				faults[id] = fmt.Sprintf("at revision %d its hash is %08x, and a majority has another one", own.HashRevision, hash)
			}
		case !sound:
			faults[0] = fmt.Sprintf("at revision %d hashes differ and none is that of a majority", own.HashRevision)
		}
	}
	return checked, faults
}

func values(m map[uint32][]uint64) (all [][]uint64) {
	for _, v := range m {
		all = append(all, v)
	}
	return all
}

func (c *Checker) raiseAll(ctx context.Context, faults map[uint64]string) error {
	var errs []error
	for id, why := range faults {
		errs = append(errs, c.raise(ctx, id, why))
	}
	return errors.Join(errs...)
}

func (c *Checker) raise(ctx context.Context, id uint64, why string) error {
	c.logger.Error("corruption found; raising the CORRUPT alarm, with which no writes are taken", member(id), zap.String("reason", why))
	if err := c.member.SetCorrupt(ctx, id); err != nil {
		return fmt.Errorf("raise the CORRUPT alarm for member %x: %w", id, err)
	}
	return nil
}

func member(id uint64) zap.Field { return zap.String("member", fmt.Sprintf("%x", id)) }
