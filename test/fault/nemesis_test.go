package fault

import (
	"time"

	"raftkv/test/e2e/harness"
)

// misfortune is a kind of fault: it strikes, lasts, and is over when do returns.
type misfortune struct {
	name string
	do   func(w *world)
}

func misfortunes() []misfortune {
	return []misfortune{
		{"the leader is killed", killLeader},
		{"two nodes are killed", func(w *world) { killSome(w, 2) }},
		{"all nodes are killed", func(w *world) { killSome(w, len(w.c.Nodes)) }},
		{"a node is paused", pauseOne},
		{"a majority is paused", pauseMajority},
		{"a node is cut off, silently", func(w *world) { partition(w, 1, true) }},
		{"the leader hears nobody", deaf},
		{"two nodes are split off, silently", func(w *world) { partition(w, 2, true) }},
		{"two nodes are split off by a firewall", func(w *world) { partition(w, 2, false) }},
		{"links drop one way", oneWay},
		{"links are slow and narrow", slowLinks},
		{"connections break", resets},
		{"a node falls behind and gets a snapshot", fallBehind},
		{"a snapshot's transfer breaks and its receiver is killed", brokenTransfer},
		{"a node is replaced", replaceOne},
		{"leadership is moved", moveLeader},
		{"a paused leader comes back behind a partition", pausedBehindPartition},
	}
}

func killLeader(w *world) {
	leader, _ := w.c.Leader()
	w.kill(leader)
	w.hold(500*time.Millisecond, time.Second)
	w.start(leader)
}

func killSome(w *world, n int) {
	down := w.some(n)
	w.kill(down...)
	w.hold(100*time.Millisecond, time.Second)
	for _, n := range down {
		w.start(n)
	}
}

func pauseOne(w *world) {
	n := w.leaderOr()
	n.Pause()
	w.hold(500*time.Millisecond, 3*time.Second)
	n.Resume()
}

func pauseMajority(w *world) {
	still := w.some(len(w.c.Nodes)/2 + 1)
	for _, n := range still {
		n.Pause()
	}
	w.hold(500*time.Millisecond, time.Second)
	for _, n := range still {
		n.Resume()
	}
}

// partition splits off some nodes, the leader among them half of the time.
func partition(w *world, n int, silently bool) {
	few := append([]*harness.Node{w.leaderOr()}, w.some(n)...)
	if few = few[:n]; n > 1 && few[0] == few[1] {
		few[1] = w.c.Others(few[0])[0]
	}
	split(w, few, silently)
	w.hold(1500*time.Millisecond, 2*time.Second)
	w.must(w.net.Heal())
}

func split(w *world, few []*harness.Node, silently bool) {
	for _, a := range few {
		for _, b := range w.c.Others(few...) {
			if !silently {
				w.net.Refuse(a.Number, b.Number)
				continue
			}
			w.must(w.net.Drop(a.Number, b.Number))
			w.must(w.net.Drop(b.Number, a.Number))
		}
	}
}

// deaf: the leader's heartbeats arrive, no answers come back.
func deaf(w *world) {
	leader, _ := w.c.Leader()
	for _, n := range w.c.Others(leader) {
		w.must(w.net.Drop(n.Number, leader.Number))
	}
	w.hold(1500*time.Millisecond, 2*time.Second)
	w.must(w.net.Heal())
}

func oneWay(w *world) {
	for range 1 + w.rng.IntN(6) {
		ends := w.some(2)
		w.must(w.net.Drop(ends[0].Number, ends[1].Number))
	}
	w.hold(1500*time.Millisecond, 2*time.Second)
	w.must(w.net.Heal())
}

func slowLinks(w *world) {
	for _, a := range w.c.Nodes {
		for _, b := range w.c.Others(a) {
			if w.rng.IntN(2) == 0 {
				w.must(w.net.Slow(a.Number, b.Number, time.Duration(1+w.rng.IntN(80))*time.Millisecond, 40*time.Millisecond))
			}
		}
	}
	ends := w.some(2)
	w.must(w.net.Narrow(ends[0].Number, ends[1].Number, 64))
	w.hold(1500*time.Millisecond, 2*time.Second)
	w.must(w.net.Heal())
}

// resets breaks connections again and again: what is on its way is lost.
func resets(w *world) {
	for range 8 {
		w.net.Reset(func(int, int) bool { return w.rng.IntN(3) == 0 })
		w.hold(100*time.Millisecond, 300*time.Millisecond)
	}
}

func fallBehind(w *world) {
	late := w.behind()
	w.start(late)
	w.awaitInstall(late)
	w.installs += w.installed(late)
}

// behind kills a follower and waits until nobody keeps the log for it any more.
func (w *world) behind() *harness.Node {
	leader, _ := w.c.Leader()
	late := w.c.Others(leader)[w.rng.IntN(len(w.c.Nodes)-1)]
	w.kill(late)
	w.c.ReleaseLog(nil, w.c.Others(late)...)
	return late
}

func brokenTransfer(w *world) {
	late := w.behind()
	w.start(late)
	for range 3 {
		w.net.Reset(func(dials, reaches int) bool { return dials == late.Number || reaches == late.Number })
		w.hold(10*time.Millisecond, 100*time.Millisecond)
	}
	installed := w.installed(late)
	w.installs += installed
	w.kill(late)
	if installed > 0 { // else the leader keeps the log for it, longer than this test
		w.c.ReleaseLog(nil, w.c.Others(late)...)
	}
	w.start(late)
	if installed > 0 {
		w.awaitInstall(late)
	} else { // usually it installs the rest, but it may have been killed just behind that
		w.awaitLog(late)
	}
	w.installs += w.installed(late)
}

func replaceOne(w *world) {
	old := w.leaderOr()
	fresh := w.add()
	w.installs += w.installed(fresh)
	w.remove(old)
}

func moveLeader(w *world) {
	leader, _ := w.c.Leader()
	to := w.c.Others(leader)[w.rng.IntN(len(w.c.Nodes)-1)]
	// It may be refused, or come too late: then there is one transfer less.
	if _, err := leader.Client().MoveLeader(w.t.Context(), w.idOf(leader.Client(), to)); err != nil {
		w.t.Logf("moving the leader: %v", err)
	}
}

// pausedBehindPartition: a leader wakes up that others have replaced, while it
// cannot hear of it.
func pausedBehindPartition(w *world) {
	leader, _ := w.c.Leader()
	split(w, []*harness.Node{leader}, true)
	leader.Pause()
	w.hold(time.Second, 2*time.Second)
	leader.Resume()
	w.hold(300*time.Millisecond, time.Second)
	w.must(w.net.Heal())
}
