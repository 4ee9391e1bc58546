package server

import (
	"context"
	"errors"

	"github.com/prometheus/client_golang/prometheus"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/protobuf/proto"

	"raftkv/node"
	"raftkv/server/compactor"
	"raftkv/server/quota"
	"raftkv/statemachine"
	"raftkv/statemachine/envelope"
)

// upkeep is what a member does for its store in the background.
type upkeep struct {
	sweeper *compactor.Sweeper
	auto    *compactor.Auto
	guard   *quota.Guard
}

func (s *Server) newUpkeep() (u upkeep, err error) {
	u.sweeper, err = compactor.NewSweeper(compactor.SweeperConfig{
		BatchLimit: s.cfg.CompactionBatchLimit, SleepInterval: s.cfg.CompactionSleepInterval,
		Logger: s.cfg.Logger.Named("mvcc"), OnFatal: s.fail,
	})
	if err != nil {
		return u, err
	}
	policy := compactor.Policy{Period: s.cfg.AutoCompactionPeriod, Revisions: s.cfg.AutoCompactionRevisions}
	if u.auto, err = compactor.NewAuto(policy, upkeepMember{s}, s.cfg.Logger.Named("compactor")); err != nil {
		return u, err
	}
	u.guard = quota.New(s.cfg.QuotaBackendBytes, s.reserveBytes(), upkeepMember{s}, s.cfg.Logger.Named("quota"))
	return u, nil
}

// startUpkeep runs it until the member stops.
func (s *Server) startUpkeep() {
	s.background.Go(func() { s.upkeep.sweeper.Run(s.ctx, s.rooms.machine) })
	s.background.Go(func() { s.upkeep.auto.Run(s.ctx) })
	s.background.Go(func() { s.upkeep.guard.Run(s.ctx) })
}

// space admits a write of some growth. While the cluster counts as corrupt,
// Apply refuses every write, with that reason.
func (s *Server) space(ctx context.Context, growth int64) error {
	if s.rooms.machine.AlarmActive(pb.AlarmType_CORRUPT) {
		return nil
	}
	return s.upkeep.guard.Admit(ctx, growth)
}

// upkeepMember is the member as its upkeep sees it.
type upkeepMember struct{ s *Server }

func (m upkeepMember) Revision() int64 { return m.s.rooms.machine.Revision() }
func (m upkeepMember) Leads() bool     { return m.s.status().Role == node.Leader }

func (m upkeepMember) Compact(ctx context.Context, revision int64) error {
	return m.propose(ctx, envelope.KindCompaction, &pb.CompactionRequest{Revision: revision})
}

func (m upkeepMember) LiveBytes() int64 { return m.s.rooms.machine.LiveBytes() }

func (m upkeepMember) NoSpace() bool { return m.s.rooms.machine.AlarmActive(pb.AlarmType_NOSPACE) }

func (m upkeepMember) OwnNoSpace() bool {
	return m.s.rooms.machine.HasOwnAlarm(m.s.memberID, pb.AlarmType_NOSPACE)
}

func (m upkeepMember) SetNoSpace(ctx context.Context, active bool) error {
	action := pb.AlarmRequest_DEACTIVATE
	if active {
		action = pb.AlarmRequest_ACTIVATE
	}
	return m.propose(ctx, envelope.KindOwnAlarm,
		&pb.AlarmRequest{Action: action, MemberID: m.s.memberID, Alarm: pb.AlarmType_NOSPACE})
}

// propose replicates a command and returns its refusal, if it was refused.
func (m upkeepMember) propose(ctx context.Context, kind envelope.Kind, req proto.Message) error {
	body, err := proto.Marshal(req)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, m.s.cfg.requestTimeout())
	defer cancel()
	result, _, err := backend(m).Propose(ctx, envelope.EncodeCommand(envelope.Command{Kind: kind, Body: body}))
	if refusal, ok := result.(error); ok {
		return refusal
	}
	return err
}

func (b backend) CompactedRevision() int64 { return b.s.rooms.machine.CompactedRevision() }

func (b backend) AwaitSweep(ctx context.Context, revision int64) error {
	return b.s.upkeep.sweeper.Await(ctx, revision)
}

func (b backend) HashKV(ctx context.Context, revision int64) (statemachine.KVHash, error) {
	return b.s.rooms.machine.HashKV(ctx, revision)
}

// Hash folds the hash of the state to the size etcd's has.
func (b backend) Hash(context.Context) (hash uint32, revision int64, err error) {
	revision = b.s.rooms.machine.Revision()
	full, err := b.s.rooms.machine.StateHash()
	return uint32(full) ^ uint32(full>>32), revision, err
}

func (b backend) Alarms() []*pb.AlarmMember { return b.s.rooms.machine.Alarms(pb.AlarmType_NONE) }

// dbSizes returns what the store takes on disk and what of it is in use. Data
// that no flush has reached yet takes no file, but it is in use; it counts as
// being on disk, where raft's log has it.
func (s *Server) dbSizes() (total, inUse int64) {
	inUse = s.rooms.machine.LiveBytes()
	return max(s.sizeBytes(), inUse), inUse
}

func (s *Server) upkeepMetrics() error {
	size := func(total bool) func() float64 {
		return func() float64 {
			all, inUse := s.dbSizes()
			if total {
				return float64(all)
			}
			return float64(inUse)
		}
	}
	var errs []error
	for _, c := range []prometheus.Collector{
		gauge("etcd_mvcc_db_total_size_in_bytes", "Size of the state on disk in bytes.", size(true)),
		gauge("etcd_mvcc_db_total_size_in_use_in_bytes", "Size of the live data in bytes, before compression.", size(false)),
		gauge("etcd_server_quota_backend_bytes", "Quota of live data in bytes; 0: none.",
			func() float64 { return float64(s.upkeep.guard.Bytes()) }),
		gauge("etcd_debugging_mvcc_compact_revision", "Revision of the last compaction.",
			func() float64 { return float64(s.rooms.machine.CompactedRevision()) }),
	} {
		errs = append(errs, s.cfg.Registry.Register(c))
	}
	return errors.Join(errs...)
}
