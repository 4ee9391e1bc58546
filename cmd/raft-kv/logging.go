package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log"
	"net/url"
	"slices"
	"strings"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zapgrpc"
	"google.golang.org/grpc/grpclog"

	"raftkv/server"
)

// logging says what is logged, how and where.
type logging struct {
	format, level string
	levelGiven    bool
	outputs       []string // default, stdout, stderr or files; none: default
}

func (l logging) validate() error {
	var errs []error
	if _, err := zapcore.ParseLevel(l.level); err != nil {
		errs = append(errs, fmt.Errorf(`--log-level must be "debug", "info", "warn" or "error", not %q`, l.level))
	}
	if l.format != "console" && l.format != "json" {
		errs = append(errs, fmt.Errorf(`--log-format must be "console" or "json", not %q`, l.format))
	}
	if len(l.outputs) > 1 && slices.Contains(l.outputs, "default") {
		errs = append(errs, errors.New(`--log-outputs: "default" stands alone; name "stderr" beside others`))
	}
	if slices.Contains(l.outputs, "systemd/journal") {
		errs = append(errs, errors.New("--log-outputs systemd/journal is not supported yet"))
	}
	return errors.Join(errs...)
}

// open returns the logger: everything as JSON, or in console form what the
// story does not tell, from warnings on unless the level was lowered. done
// closes files.
func (l logging) open(stdout, stderr io.Writer) (logger *zap.Logger, done func(), err error) {
	if err := l.validate(); err != nil {
		return nil, nil, err
	}
	sink, done, err := l.sink(stdout, stderr)
	if err != nil {
		return nil, nil, err
	}
	at, err := zapcore.ParseLevel(l.level)
	if err != nil {
		return nil, nil, err
	}
	enc := zap.NewProductionEncoderConfig()
	enc.EncodeTime = zapcore.TimeEncoderOfLayout("2006-01-02T15:04:05.999999Z0700")
	enc.EncodeDuration = zapcore.StringDurationEncoder
	if l.format == "json" {
		return zap.New(zapcore.NewCore(zapcore.NewJSONEncoder(enc), sink, at), zap.AddCaller()), done, nil
	}
	if !l.levelGiven {
		at = zapcore.WarnLevel
	}
	enc.EncodeLevel = zapcore.CapitalLevelEncoder
	enc.EncodeCaller = nil
	enc.CallerKey = zapcore.OmitKey
	return zap.New(zapcore.NewCore(zapcore.NewConsoleEncoder(enc), sink, at)), done, nil
}

func (l logging) sink(stdout, stderr io.Writer) (zapcore.WriteSyncer, func(), error) {
	var sinks []zapcore.WriteSyncer
	var files []string
	for _, output := range l.outputs {
		switch output {
		case "default", "stderr":
			sinks = append(sinks, zapcore.AddSync(stderr))
		case "stdout":
			sinks = append(sinks, zapcore.AddSync(stdout))
		default:
			files = append(files, output)
		}
	}
	if len(l.outputs) == 0 {
		sinks = append(sinks, zapcore.AddSync(stderr))
	}
	done := func() {}
	if len(files) > 0 {
		opened, closeFiles, err := zap.Open(files...)
		if err != nil {
			return nil, nil, fmt.Errorf("--log-outputs: %w", err)
		}
		sinks, done = append(sinks, opened), closeFiles
	}
	return zapcore.Lock(zapcore.NewMultiWriteSyncer(sinks...)), done, nil
}

// captureLibraries sends what libraries write to the standard error to the log,
// where every line must be JSON. It must run before gRPC is used. What someone
// asked Go itself for, by http2debug in $GODEBUG, stays as Go writes it: tools
// that ask for it read it so. They look for the headers of clients, since peers
// of etcd speak no HTTP/2; so whom the peers asked for is left out.
func captureLibraries(logger *zap.Logger, godebug string, members []server.Member) (restore func()) {
	grpclog.SetLoggerV2(zapgrpc.NewLogger(logger.Named("grpc").WithOptions(zap.IncreaseLevel(zap.ErrorLevel))))
	for setting := range strings.SplitSeq(godebug, ",") {
		if value, ok := strings.CutPrefix(setting, "http2debug="); ok && value != "0" {
			before := log.Writer()
			log.SetOutput(withoutPeers(before, members))
			return func() { log.SetOutput(before) }
		}
	}
	return zap.RedirectStdLog(logger)
}

// lineFilter drops lines with one of these ends. The log package writes a line
// at a time.
type lineFilter struct {
	io.Writer
	ends []string
}

// withoutPeers drops the lines that name a host of a peer URL, without its
// port, as the authority: so members call each other.
func withoutPeers(w io.Writer, members []server.Member) lineFilter {
	f := lineFilter{Writer: w}
	for _, m := range members {
		for _, peer := range m.PeerURLs {
			if u, err := url.Parse(peer); err == nil {
				f.ends = append(f.ends, fmt.Sprintf("header field \":authority\" = %q\n", u.Hostname()))
			}
		}
	}
	return f
}

func (f lineFilter) Write(line []byte) (int, error) {
	for _, end := range f.ends {
		if bytes.HasSuffix(line, []byte(end)) {
			return len(line), nil
		}
	}
	return f.Writer.Write(line)
}

// logStory returns an event handler that writes the story into a JSON log.
func logStory(logger *zap.Logger) func(server.Event) {
	return func(e server.Event) {
		if e.Kind == server.EventSnapshot {
			return // the server logs transfers itself, with their figures
		}
		logger.Info(headline(e), zap.Uint64("term", e.Term), zap.String("leader", e.LeaderName), zap.Uint64("entries", e.Entries))
	}
}

func headline(e server.Event) string {
	switch e.Kind {
	case server.EventCandidate:
		return "starting election"
	case server.EventElected:
		return "elected leader"
	case server.EventLeader:
		return "found leader"
	case server.EventLeaderLost:
		return "lost leader"
	case server.EventCatchingUp:
		return "catching up"
	case server.EventCaughtUp:
		return "caught up"
	}
	return "event"
}
