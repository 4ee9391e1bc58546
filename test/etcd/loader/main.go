// Command loader writes keys to a cluster with etcd's own client library, built
// with the dependencies etcd released it with, and prints one JSON line for
// every acknowledged write. Tests use it as the stock client whose
// acknowledgements a cluster must honour.
//
// Every key is written once, by its own name. A write whose outcome is unknown
// is repeated until it is acknowledged, so a key may have been applied more
// than once; the acknowledgement printed is the last one, and the value is the
// same each time. It is a fault if a write is refused for another reason, or
// not acknowledged within its time limit.
//
// Exit codes: 0 everything acknowledged, 1 not so, 2 bad usage.
package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"os"
	"os/signal"
	"strings"
	"sync"
	"syscall"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// retryPause lets an election finish without flooding the members.
const retryPause = 20 * time.Millisecond

// ack is one line of output.
type ack struct {
	Key         string `json:"key"`
	Revision    int64  `json:"revision"`
	ValueBytes  int    `json:"value_bytes"`
	ValueSHA256 string `json:"value_sha256"`
	// Attempts above 1 mean that an earlier outcome was unknown.
	Attempts int `json:"attempts"`
}

type options struct {
	endpoints    string
	keys         int
	workers      int
	valueBytes   [2]int // smallest and largest; sizes are log-uniform
	seed         uint64
	timeout      time.Duration
	writeTimeout time.Duration
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	o, err := parse(args, stderr)
	if err != nil {
		fmt.Fprintf(stderr, "loader: %v\n", err)
		return 2
	}
	if err := load(ctx, o, stdout); err != nil {
		fmt.Fprintf(stderr, "loader: %v\n", err)
		return 1
	}
	return 0
}

func parse(args []string, stderr io.Writer) (options, error) {
	var o options
	flags := flag.NewFlagSet("loader", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.StringVar(&o.endpoints, "endpoints", "", "members' client addresses, separated by commas")
	flags.IntVar(&o.keys, "keys", 50_000, "keys to write")
	flags.IntVar(&o.workers, "workers", 20, "writing goroutines")
	flags.IntVar(&o.valueBytes[0], "value-bytes-min", 16, "smallest value")
	flags.IntVar(&o.valueBytes[1], "value-bytes-max", 64<<10, "largest value")
	flags.Uint64Var(&o.seed, "seed", 1, "decides the values")
	flags.DurationVar(&o.timeout, "timeout", time.Minute, "time to get one key acknowledged")
	flags.DurationVar(&o.writeTimeout, "write-timeout", 5*time.Second, "time limit of one attempt")
	if err := flags.Parse(args); err != nil {
		return o, err
	}
	switch {
	case flags.NArg() > 0:
		return o, fmt.Errorf("unexpected argument %q", flags.Arg(0))
	case o.endpoints == "":
		return o, errors.New("--endpoints is missing")
	case o.keys < 1 || o.workers < 1:
		return o, errors.New("--keys and --workers must be at least 1")
	case o.valueBytes[0] < 1 || o.valueBytes[1] < o.valueBytes[0] || o.valueBytes[1] > 1<<20:
		return o, errors.New("values must have between 1 byte and 1 MiB, the largest no less than the smallest")
	case o.timeout <= 0 || o.writeTimeout <= 0:
		return o, errors.New("time limits must be above 0")
	}
	return o, nil
}

// load writes all keys. The first failure ends it.
func load(ctx context.Context, o options, out io.Writer) (err error) {
	client, err := clientv3.New(clientv3.Config{
		Endpoints: strings.Split(o.endpoints, ","), DialTimeout: o.writeTimeout,
	})
	if err != nil {
		return fmt.Errorf("making a client: %w", err)
	}
	defer func() { err = errors.Join(err, client.Close()) }()

	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	l := &loader{options: o, client: client, acks: make(chan ack, o.workers)}
	numbers := make(chan int)
	var workers sync.WaitGroup
	for range o.workers {
		workers.Go(func() {
			for n := range numbers {
				if err := l.write(ctx, n); err != nil {
					cancel(err)
					return
				}
			}
		})
	}
	go func() {
		defer close(l.acks) // no worker is left to send
		feed(ctx, numbers, o.keys)
		workers.Wait()
	}()
	if err := printAcks(out, l.acks); err != nil {
		cancel(err)
	}
	for range l.acks { // let the workers finish
	}
	return context.Cause(ctx)
}

// feed hands out the numbers of all keys and closes the channel.
func feed(ctx context.Context, numbers chan<- int, keys int) {
	defer close(numbers)
	for n := range keys {
		select {
		case numbers <- n:
		case <-ctx.Done():
			return
		}
	}
}

// printAcks writes a line per acknowledgement, at once: whoever reads must know of
// an acknowledgement before he harms the cluster.
func printAcks(out io.Writer, acks <-chan ack) error {
	for a := range acks {
		line, err := json.Marshal(a)
		if err != nil {
			return fmt.Errorf("encoding an acknowledgement: %w", err)
		}
		if _, err := out.Write(append(line, '\n')); err != nil {
			return fmt.Errorf("writing an acknowledgement: %w", err)
		}
	}
	return nil
}

type loader struct {
	options
	client *clientv3.Client
	acks   chan ack
}

// write gets key n acknowledged.
func (l *loader) write(ctx context.Context, n int) error {
	key, value := fmt.Sprintf("load/%08d", n), l.value(n)
	hash := sha256.Sum256(value)
	ctx, cancel := context.WithTimeout(ctx, l.timeout)
	defer cancel()
	for attempt := 1; ; attempt++ {
		resp, err := l.put(ctx, key, value)
		if err == nil {
			l.acks <- ack{
				Key: key, Revision: resp.Header.GetRevision(), ValueBytes: len(value),
				ValueSHA256: hex.EncodeToString(hash[:]), Attempts: attempt,
			}
			return nil
		}
		if !retryable(err) || ctx.Err() != nil {
			return fmt.Errorf("writing %s, attempt %d: %w", key, attempt, err)
		}
		select {
		case <-time.After(retryPause):
		case <-ctx.Done():
		}
	}
}

func (l *loader) put(ctx context.Context, key string, value []byte) (*clientv3.PutResponse, error) {
	ctx, cancel := context.WithTimeout(ctx, l.writeTimeout)
	defer cancel()
	return l.client.Put(ctx, key, string(value))
}

// retryable errors leave the outcome unknown or say that it may work later.
func retryable(err error) bool {
	code := status.Code(err)
	// The client library turns the server's errors into its own type.
	var etcdError rpctypes.EtcdError
	if errors.As(err, &etcdError) {
		code = etcdError.Code()
	}
	return code == codes.Unavailable || code == codes.DeadlineExceeded || code == codes.ResourceExhausted ||
		errors.Is(err, context.DeadlineExceeded)
}

// value depends on seed and n alone, so every attempt writes the same.
func (l *loader) value(n int) []byte {
	rng := rand.New(rand.NewPCG(l.seed, uint64(n)))
	low, high := math.Log(float64(l.valueBytes[0])), math.Log(float64(l.valueBytes[1]))
	size := int(math.Round(math.Exp(low + rng.Float64()*(high-low))))
	value := make([]byte, size)
	for i := range value {
		value[i] = byte(rng.Uint32())
	}
	return value
}
