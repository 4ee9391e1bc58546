package node

import (
	"fmt"

	"go.etcd.io/raft/v3/raftpb"
	"go.uber.org/zap"
)

// storage is raft.Storage: entries from the log, snapshots from the snapshots
// room.
type storage struct {
	Log
	snapshots Snapshots
	// confIndex is the index of the last configuration change. Raft drops a
	// snapshot whose configuration does not have its receiver, so one from before
	// would be offered to a new member in vain, again and again.
	confIndex uint64
}

// Snapshot returns a snapshot from which a follower can go on with the log.
// Never blocks; raft asks again later.
func (s *storage) Snapshot() (*raftpb.Snapshot, error) {
	first, err := s.FirstIndex()
	if err != nil {
		return nil, fmt.Errorf("first index for a snapshot: %w", err)
	}
	return s.snapshots.Latest(max(first-1, s.confIndex))
}

// raftLogger writes raft's own log through zap. Raft reports impossible states
// by Panic and Fatal, which must not return.
type raftLogger struct{ *zap.SugaredLogger }

func (l raftLogger) Warning(v ...any)                 { l.Warn(v...) }
func (l raftLogger) Warningf(format string, v ...any) { l.Warnf(format, v...) }
