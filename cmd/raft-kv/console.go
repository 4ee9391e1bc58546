package main

import (
	"fmt"
	"io"
	"strings"
	"sync"

	"raftkv/server"
)

// story tells the life of a member in one line each. Several members may share
// a writer.
type story struct {
	mu     *sync.Mutex
	out    io.Writer
	prefix string
}

func newStory(out io.Writer) *story { return &story{mu: &sync.Mutex{}, out: out} }

// of returns a story on the same writer whose lines name the node.
func (s *story) of(name string) *story {
	return &story{mu: s.mu, out: s.out, prefix: "node " + name + " | "}
}

func (s *story) line(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	fmt.Fprintf(s.out, s.prefix+format+"\n", args...)
}

func (s *story) starting(cfg server.Config) {
	if cfg.Join != "" {
		s.line("Node %s starting...", cfg.Name)
		s.line("Joining the cluster of %s as %s", hostOf(cfg.Join), hostOf(cfg.InitialCluster[0].PeerURLs[0]))
		s.line("[LEARNER] Waiting for the state...")
		return
	}
	var addresses []string
	for _, m := range cfg.InitialCluster {
		addresses = append(addresses, hostOf(m.PeerURLs[0]))
	}
	s.line("Node %s starting...", cfg.Name)
	s.line("Cluster: [%s]", strings.Join(addresses, ", "))
	s.line("[FOLLOWER] Waiting for leader...")
}

// hostOf is a peer URL as people say it.
func hostOf(url string) string {
	_, host, _ := strings.Cut(url, "://")
	return host
}

func (s *story) event(e server.Event) {
	switch e.Kind {
	case server.EventCandidate:
		s.line("[CANDIDATE] Starting election for term %d", e.Term)
	case server.EventElected:
		s.line("[LEADER] Elected! Term: %d", e.Term)
	case server.EventLeader:
		s.line("[FOLLOWER] Leader is node %s", e.LeaderName)
	case server.EventLeaderLost:
		s.line("[FOLLOWER] Waiting for leader...")
	case server.EventVoter:
		s.line("[FOLLOWER] Promoted: this node votes now")
	case server.EventCatchingUp:
		s.line("[FOLLOWER] Catching up... (%d log entries)", e.Entries)
	case server.EventCaughtUp:
		s.line("[FOLLOWER] Caught up! Leader is node %s", e.LeaderName)
	case server.EventSnapshot:
		s.line("%s", snapshotLine(e))
	}
}
