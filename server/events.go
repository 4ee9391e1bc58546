package server

import (
	"fmt"
	"sync/atomic"
	"time"

	"raftkv/node"
	"raftkv/statemachine"
	"raftkv/statemachine/envelope"
)

// Event kinds, for those who follow Config.OnEvent.
const (
	EventCandidate  = node.EventCandidate
	EventElected    = node.EventElected
	EventLeader     = node.EventLeader
	EventLeaderLost = node.EventLeaderLost
	EventCatchingUp = node.EventCatchingUp
	EventCaughtUp   = node.EventCaughtUp
	EventVoter      = node.EventVoter
)

// Event is a node's event with the leader's name.
type Event struct {
	node.Event
	LeaderName string
	// Snapshot and Leading, whether this member leads, come with EventSnapshot.
	Snapshot *SnapshotEvent
	Leading  bool
}

// eventsMax bounds the events that wait for Config.OnEvent. Beyond it they are
// dropped and counted: a console that does not read must not stop raft.
const eventsMax = 256

// events takes events from the node's loop and hands them to Config.OnEvent on
// a goroutine of its own.
type events struct {
	queue   chan told
	ended   chan struct{} // closed when run has ended
	dropped atomic.Uint64
}

// told is an event, or what is to happen once those before it are delivered.
type told struct {
	event Event
	then  func()
}

func newEvents() *events {
	return &events{queue: make(chan told, eventsMax), ended: make(chan struct{})}
}

func (e *events) put(event Event) {
	select {
	case e.queue <- told{event: event}:
	default:
		e.dropped.Add(1)
	}
}

// after calls f once the events so far are delivered; at once if too many wait.
func (e *events) after(f func()) {
	select {
	case e.queue <- told{then: f}:
	default:
		f()
	}
}

// run delivers until stopped is closed, and then what is left.
func (e *events) run(deliver func(Event), stopped <-chan struct{}) {
	defer close(e.ended)
	for {
		select {
		case next := <-e.queue:
			next.hand(deliver)
		case <-stopped:
			for {
				select {
				case next := <-e.queue:
					next.hand(deliver)
				default:
					return
				}
			}
		}
	}
}

func (t told) hand(deliver func(Event)) {
	if t.then != nil {
		t.then()
		return
	}
	deliver(t.event)
}

// lastEventsTime is how long a stop waits for a console that does not read.
const lastEventsTime = time.Second

// wait returns when the last event is delivered or lastEventsTime has passed.
func (e *events) wait() {
	late := time.NewTimer(lastEventsTime)
	defer late.Stop()
	select {
	case <-e.ended:
	case <-late.C:
	}
}

// tell is the node's OnEvent.
func (s *Server) tell(e node.Event) {
	event := Event{Event: e}
	if e.Leader != 0 {
		event.LeaderName = s.nameOf(e.Leader)
	}
	s.events.put(event)
}

// checkForwarded refuses a batch that another member packed if it would stop
// whoever applies it, or if it claims to be somebody else's.
func checkForwarded(from uint64, batch []byte) error {
	e, err := envelope.Decode(batch)
	if err != nil {
		return err
	}
	if newest := uint32(statemachine.NewestVersion); e.ClusterVersion > newest {
		return fmt.Errorf("packed for cluster version %x, this binary knows up to %x", e.ClusterVersion, newest)
	}
	if e.Proposer != from || e.Boot == 0 || e.Batch == 0 || len(e.Commands) == 0 {
		return fmt.Errorf("batch %d of boot %d of member %x with %d commands", e.Batch, e.Boot, e.Proposer, len(e.Commands))
	}
	return nil
}
