package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

func TestValuesFollowFromSeedAndKey(t *testing.T) {
	l := &loader{options: options{seed: 5, valueBytes: [2]int{16, 64 << 10}}}
	var total int
	for n := range 2000 {
		v := l.value(n)
		if len(v) < 16 || len(v) > 64<<10 {
			t.Fatalf("value %d has %d bytes", n, len(v))
		}
		if n < 50 && !bytes.Equal(v, l.value(n)) {
			t.Fatalf("value %d differs from itself", n)
		}
		total += len(v)
	}
	// Log-uniform between a and b: the mean is (b-a)/ln(b/a), here 7.9 kB.
	if mean := total / 2000; mean < 7000 || mean > 8800 {
		t.Errorf("mean size %d bytes", mean)
	}
	if bytes.Equal(l.value(1), (&loader{options: options{seed: 6, valueBytes: l.valueBytes}}).value(1)) {
		t.Error("the seed does not decide the values")
	}
}

func TestOnlyTransientErrorsAreRetried(t *testing.T) {
	for _, err := range []error{
		rpctypes.ErrLeaderChanged, rpctypes.ErrTimeout, rpctypes.ErrNoLeader, rpctypes.ErrTooManyRequests,
		status.Error(codes.Unavailable, "connection refused"),
		fmt.Errorf("putting: %w", context.DeadlineExceeded),
	} {
		if !retryable(err) {
			t.Errorf("%v is not retried", err)
		}
	}
	for _, err := range []error{
		rpctypes.ErrEmptyKey, rpctypes.ErrRequestTooLarge, rpctypes.ErrPermissionDenied,
		status.Error(codes.Unimplemented, "unknown service"), context.Canceled, errors.New("anything else"),
	} {
		if retryable(err) {
			t.Errorf("%v is retried", err)
		}
	}
}

func TestBadUsageIsCode2(t *testing.T) {
	for _, line := range []string{
		"", "--endpoints a:1 extra", "--endpoints a:1 --keys 0", "--endpoints a:1 --value-bytes-max 8",
		"--endpoints a:1 --timeout 0s", "--bogus",
	} {
		var stderr bytes.Buffer
		if code := run(t.Context(), strings.Fields(line), io.Discard, &stderr); code != 2 || stderr.Len() == 0 {
			t.Errorf("%q: exit code %d, %q", line, code, stderr.String())
		}
	}
}

// Nobody listens: the write is retried until its time is over, then reported.
func TestUnreachableClusterFails(t *testing.T) {
	o := options{
		endpoints: "127.0.0.1:1", keys: 5, workers: 2, valueBytes: [2]int{1, 2},
		timeout: 200 * time.Millisecond, writeTimeout: 50 * time.Millisecond,
	}
	var out bytes.Buffer
	if err := load(t.Context(), o, &out); err == nil || !strings.Contains(err.Error(), "writing load/") {
		t.Errorf("err = %v", err)
	}
	if out.Len() != 0 {
		t.Errorf("acknowledged: %s", out.String())
	}
}
