package statemachine

import (
	"encoding/binary"
	"time"

	"github.com/cespare/xxhash/v2"
	"go.etcd.io/raft/v3/raftpb"

	"raftkv/statemachine/keys"
	"raftkv/statemachine/mvcc"
)

// effectsVersion is the version of the logical encoding that the rolling hash
// covers. It is independent of the encoding on disk, and raised by the cluster
// version when it changes, so that members of two binaries agree.
const effectsVersion = 1

// Effects of the logical encoding; never reuse a letter.
const (
	effectPut            = 'p'
	effectDelete         = 't'
	effectCompact        = 'c'
	effectMember         = 'm'
	effectMemberRemoved  = 'x'
	effectBatch          = 'b'
	effectConf           = 'f'
	effectClusterVersion = 'v'
	effectDowngrade      = 'd'
	effectAlarms         = 'a'
	effectSession        = 's'
	effectSessionEnd     = 'e'
	effectLease          = 'l'
	effectLeaseEnd       = 'z'
	effectRefounded      = 'n'
	effectLeaseReads     = 'r'
)

// effects computes the rolling hash. After each entry
//
//	hash = xxhash64(version, hash before, index, term, effects of the entry)
//
// with numbers as 8 bytes big endian and texts after their length. It hashes
// entries, not batches: members divide the log into calls of Apply as they
// like.
type effects struct {
	digest xxhash.Digest
	header []byte // scratch
}

func (e *effects) begin(previous, index, term uint64) {
	e.digest.Reset()
	e.header = append(e.header[:0], effectsVersion)
	e.numbers(previous, index, term)
	e.flush()
}

func (e *effects) end() uint64 { return e.digest.Sum64() }

func (e *effects) kind(k byte) { e.header = append(e.header[:0], k) }

func (e *effects) numbers(values ...uint64) {
	for _, v := range values {
		e.header = binary.BigEndian.AppendUint64(e.header, v)
	}
}

func (e *effects) text(s string) {
	e.numbers(uint64(len(s)))
	e.header = append(e.header, s...)
}

func (e *effects) texts(list []string) {
	e.numbers(uint64(len(list)))
	for _, s := range list {
		e.text(s)
	}
}

// flush feeds the header to the digest, which never fails.
func (e *effects) flush() { _, _ = e.digest.Write(e.header) }

// RecordPut implements mvcc.Recorder.
func (e *effects) RecordPut(kv *mvcc.KeyValue) {
	e.kind(effectPut)
	e.numbers(uint64(kv.Revision.Main), uint64(kv.Revision.Sub), uint64(kv.CreateRevision),
		uint64(kv.Version), uint64(kv.Lease), uint64(len(kv.Key)), uint64(len(kv.Value)))
	e.header = append(e.header, kv.Key...)
	e.flush()
	_, _ = e.digest.Write(kv.Value)
}

// RecordDelete implements mvcc.Recorder.
func (e *effects) RecordDelete(key []byte, rev keys.Revision) {
	e.kind(effectDelete)
	e.numbers(uint64(rev.Main), uint64(rev.Sub), uint64(len(key)))
	e.header = append(e.header, key...)
	e.flush()
}

func (e *effects) compact(revision int64) {
	e.kind(effectCompact)
	e.numbers(uint64(revision))
	e.flush()
}

func (e *effects) batch(proposer, boot, batch uint64) {
	e.kind(effectBatch)
	e.numbers(proposer, boot, batch)
	e.flush()
}

func (e *effects) member(m *Member) {
	e.kind(effectMember)
	learner := uint64(0)
	if m.IsLearner {
		learner = 1
	}
	e.numbers(m.ID, learner, m.Incarnation)
	e.text(m.Name)
	e.texts(m.PeerURLs)
	e.texts(m.ClientURLs)
	e.flush()
}

func (e *effects) memberRemoved(id uint64) {
	e.kind(effectMemberRemoved)
	e.numbers(id)
	e.flush()
}

func (e *effects) conf(cs *raftpb.ConfState) {
	e.kind(effectConf)
	for _, ids := range [][]uint64{cs.GetVoters(), cs.GetLearners(), cs.GetVotersOutgoing(), cs.GetLearnersNext()} {
		e.numbers(uint64(len(ids)))
		e.numbers(ids...)
	}
	autoLeave := uint64(0)
	if cs.GetAutoLeave() {
		autoLeave = 1
	}
	e.numbers(autoLeave)
	e.flush()
}

func (e *effects) clusterVersion(version string) {
	e.kind(effectClusterVersion)
	e.text(version)
	e.flush()
}

// downgrade covers the target of a downgrade, "" for none.
func (e *effects) downgrade(target string) {
	e.kind(effectDowngrade)
	e.text(target)
	e.flush()
}

// leaseReads covers the length of promises, 0 for off.
func (e *effects) leaseReads(promise time.Duration) {
	e.kind(effectLeaseReads)
	e.numbers(uint64(promise))
	e.flush()
}

// alarms covers all alarms of a member after one of them changed.
func (e *effects) alarms(member uint64, list []alarm) {
	e.kind(effectAlarms)
	e.numbers(member, uint64(len(list)))
	for _, a := range list {
		own := uint64(0)
		if a.own {
			own = 1
		}
		e.numbers(uint64(a.typ), own)
	}
	e.flush()
}

// session covers that a session was opened, with sequence 0, or what it has
// applied. Its result follows from effects that are covered already, and from
// an encoding that two binaries need not share.
func (e *effects) session(id, sequence uint64) {
	e.kind(effectSession)
	e.numbers(id, sequence)
	e.flush()
}

func (e *effects) sessionEnd(id uint64) {
	e.kind(effectSessionEnd)
	e.numbers(id)
	e.flush()
}

// lease covers a lease that was granted or changed. Which keys it has follows
// from the puts and deletions.
func (e *effects) lease(l Lease) {
	e.kind(effectLease)
	e.numbers(uint64(l.ID), uint64(l.TTLSeconds), uint64(l.RemainingSeconds))
	e.flush()
}

func (e *effects) leaseEnd(id int64) {
	e.kind(effectLeaseEnd)
	e.numbers(uint64(id))
	e.flush()
}
