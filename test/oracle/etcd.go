package oracle

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"os/exec"
	"strings"
	"sync"
	"time"

	"go.etcd.io/etcd/server/v3/embed"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"google.golang.org/grpc/codes"
)

// etcdDirVariable tells a process that it is to be an etcd, and where.
const etcdDirVariable = "RAFTKV_ORACLE_ETCD_DIR"

const (
	// crashTimeout is far above what a process takes to end once it crashed.
	crashTimeout = 5 * time.Second
	// lastWordsMax bounds what is kept of what etcd says when it crashes.
	lastWordsMax = 4000
)

// ServeEtcd makes this process an etcd if StartEtcd has started it as one; it
// returns then when its standard input ends. Every program that starts one
// calls it before anything else, and ends if it served.
func ServeEtcd() (served bool, err error) {
	dir := os.Getenv(etcdDirVariable)
	if dir == "" {
		return false, nil
	}
	e, err := embedEtcd(dir)
	if err != nil {
		return true, fmt.Errorf("start etcd: %w", err)
	}
	defer e.Close()
	if err := await(context.Background(), e.Server.ReadyNotify(), e.Server.StopNotify()); err != nil {
		return true, fmt.Errorf("start etcd: %w", err)
	}
	if _, err := fmt.Println(e.Clients[0].Addr()); err != nil {
		return true, err
	}
	_, err = io.Copy(io.Discard, os.Stdin)
	return true, err
}

func embedEtcd(dir string) (*embed.Etcd, error) {
	anyPort := []url.URL{{Scheme: "http", Host: "127.0.0.1:0"}}
	cfg := embed.NewConfig()
	cfg.Dir = dir
	cfg.UnsafeNoFsync = true
	cfg.TickMs, cfg.ElectionMs = uint(heartbeat.Milliseconds()), uint(electionTimeout.Milliseconds())
	cfg.ListenClientUrls, cfg.AdvertiseClientUrls = anyPort, anyPort
	cfg.ListenPeerUrls, cfg.AdvertisePeerUrls = anyPort, anyPort
	cfg.InitialCluster = cfg.InitialClusterFromName(cfg.Name)
	// Nothing but what it says when it gives up.
	log := zap.New(zapcore.NewCore(zapcore.NewJSONEncoder(zap.NewProductionEncoderConfig()), zapcore.Lock(os.Stderr), zap.DPanicLevel))
	cfg.ZapLoggerBuilder = embed.NewZapLoggerBuilder(log)
	return embed.StartEtcd(cfg)
}

// etcdProcess is an etcd in a process of its own, since it ends its process
// when it finds itself damaged, and some requests make it panic.
type etcdProcess struct {
	Member
	process *exec.Cmd
	input   io.Closer // its end stops the process
	ended   chan struct{}
	lastWords
}

// StartEtcd starts an etcd with its default limits, on free ports. dir must be
// empty; nothing in it is fsynced.
func StartEtcd(ctx context.Context, dir string) (Member, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("start etcd: %w", err)
	}
	e := &etcdProcess{process: exec.Command(self), ended: make(chan struct{})}
	e.process.Env = append(os.Environ(), etcdDirVariable+"="+dir)
	e.process.Stderr = &e.lastWords
	input, inErr := e.process.StdinPipe()
	output, outErr := e.process.StdoutPipe()
	if err := errors.Join(inErr, outErr); err != nil {
		return nil, fmt.Errorf("start etcd: %w", err)
	}
	e.input = input
	if err := e.process.Start(); err != nil {
		return nil, fmt.Errorf("start etcd: %w", err)
	}
	address := make(chan string, 1)
	go e.run(output, address)
	select {
	case a := <-address:
		if e.Member, err = connect(a, func() error { return nil }); err == nil {
			return e, nil
		}
	case <-e.ended:
		err = fmt.Errorf("it ended: %s", e.lastWords.String())
	case <-ctx.Done():
		err = context.Cause(ctx)
	}
	return nil, errors.Join(fmt.Errorf("start etcd: %w", err), e.stop())
}

// run tells the process's address and waits for its end.
func (e *etcdProcess) run(output io.Reader, address chan<- string) {
	defer close(e.ended)
	lines := bufio.NewScanner(output)
	if lines.Scan() {
		address <- lines.Text()
	}
	// How it ended shows in its last words.
	_ = e.process.Wait()
}

// Do answers that etcd crashed if it did so over this operation, or since the
// one before.
func (e *etcdProcess) Do(ctx context.Context, o Operation) Answer {
	a := e.Member.Do(ctx, o)
	if a.Code != codes.Unavailable && a.Code != codes.DeadlineExceeded {
		return a
	}
	select {
	case <-e.ended:
		return Answer{Code: a.Code, Text: crashed + e.lastWords.String()}
	case <-time.After(crashTimeout):
		return a
	}
}

// crashed begins the text of the answer of an etcd that is no more.
const crashed = "etcd crashed: "

func (e *etcdProcess) Close() error { return errors.Join(e.Member.Close(), e.stop()) }

func (e *etcdProcess) stop() error {
	err := e.input.Close()
	<-e.ended
	if errors.Is(err, os.ErrClosed) { // it had ended
		return nil
	}
	return err
}

// lastWords keeps the beginning of what is written to it.
type lastWords struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *lastWords) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.text.Write(b[:min(len(b), lastWordsMax-min(lastWordsMax, l.text.Len()))])
	return len(b), nil
}

func (l *lastWords) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.TrimSpace(l.text.String())
}
