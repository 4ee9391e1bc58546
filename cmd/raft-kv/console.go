package main

import (
	"fmt"
	"io"
	"strings"
	"sync"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"raftkv/node"
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
	var addresses []string
	for _, m := range cfg.InitialCluster {
		addresses = append(addresses, strings.TrimPrefix(m.PeerURLs[0], "http://"))
	}
	s.line("Node %s starting...", cfg.Name)
	s.line("Cluster: [%s]", strings.Join(addresses, ", "))
	s.line("[FOLLOWER] Waiting for leader...")
}

func (s *story) event(e server.Event) {
	switch e.Kind {
	case node.EventCandidate:
		s.line("[CANDIDATE] Starting election for term %d", e.Term)
	case node.EventElected:
		s.line("[LEADER] Elected! Term: %d", e.Term)
	case node.EventLeader:
		s.line("[FOLLOWER] Leader is node %s", e.LeaderName)
	case node.EventLeaderLost:
		s.line("[FOLLOWER] Waiting for leader...")
	case node.EventCatchingUp:
		s.line("[FOLLOWER] Catching up... (%d log entries)", e.Entries)
	case node.EventCaughtUp:
		s.line("[FOLLOWER] Caught up! Leader is node %s", e.LeaderName)
	}
}

// newLogger writes to stderr: everything as JSON, or in console form what the
// story does not tell, from warnings on unless the level was lowered.
func newLogger(format, level string, levelGiven bool, stderr io.Writer) (*zap.Logger, error) {
	at, err := zapcore.ParseLevel(level)
	if err != nil {
		return nil, fmt.Errorf(`--log-level must be "debug", "info", "warn" or "error", not %q`, level)
	}
	enc := zap.NewProductionEncoderConfig()
	enc.EncodeTime = zapcore.TimeEncoderOfLayout("2006-01-02T15:04:05.999999Z0700")
	sink := zapcore.Lock(zapcore.AddSync(stderr))
	switch format {
	case "json":
		return zap.New(zapcore.NewCore(zapcore.NewJSONEncoder(enc), sink, at), zap.AddCaller()), nil
	case "console":
		if !levelGiven {
			at = zapcore.WarnLevel
		}
		enc.EncodeLevel = zapcore.CapitalLevelEncoder
		enc.EncodeCaller = nil
		enc.CallerKey = zapcore.OmitKey
		return zap.New(zapcore.NewCore(zapcore.NewConsoleEncoder(enc), sink, at)), nil
	}
	return nil, fmt.Errorf(`--log-format must be "console" or "json", not %q`, format)
}

// logStory returns an event handler that writes the story into a JSON log.
func logStory(logger *zap.Logger) func(server.Event) {
	return func(e server.Event) {
		texts := map[node.EventKind]string{
			node.EventCandidate: "starting election", node.EventElected: "elected leader", node.EventLeader: "found leader",
			node.EventLeaderLost: "lost leader", node.EventCatchingUp: "catching up", node.EventCaughtUp: "caught up",
		}
		logger.Info(texts[e.Kind], zap.Uint64("term", e.Term), zap.String("leader", e.LeaderName), zap.Uint64("entries", e.Entries))
	}
}
