package socket

import (
	"bytes"
	"crypto/rand"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"testing"
	"time"
)

// pair is a wrapped connection and its other end.
func pair(t *testing.T) (*Conn, *net.TCPConn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	theirs, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	accepted, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	ours := Wrap(accepted).(*Conn)
	t.Cleanup(func() { _, _ = ours.Close(), theirs.Close() })
	return ours, theirs.(*net.TCPConn)
}

func TestBytesArriveBothWays(t *testing.T) {
	ours, theirs := pair(t)
	for _, size := range []int{1, 1000, callBytesMax, callBytesMax + 1, 5 << 20} {
		sent := make([]byte, size)
		_, _ = rand.Read(sent)
		for name, way := range map[string][2]net.Conn{"out": {ours, theirs}, "in": {theirs, ours}} {
			var writing sync.WaitGroup
			writing.Go(func() {
				if n, err := way[0].Write(sent); n != size || err != nil {
					t.Errorf("%s: wrote %d of %d: %v", name, n, size, err)
				}
			})
			got := make([]byte, size)
			if _, err := io.ReadFull(way[1], got); err != nil || !bytes.Equal(got, sent) {
				t.Fatalf("%s: %d bytes: %v, the same: %v", name, size, err, bytes.Equal(got, sent))
			}
			writing.Wait()
		}
	}
}

func TestEndAndFaultsAreThoseOfNet(t *testing.T) {
	ours, theirs := pair(t)
	if n, err := ours.Read(nil); n != 0 || err != nil {
		t.Fatalf("a read of nothing: %d, %v", n, err)
	}
	_ = theirs.CloseWrite()
	if n, err := ours.Read(make([]byte, 10)); n != 0 || err != io.EOF {
		t.Fatalf("after the end: %d, %v, want EOF", n, err)
	}

	ours, theirs = pair(t)
	_ = ours.SetReadDeadline(time.Now().Add(-time.Second))
	_, err := ours.Read(make([]byte, 10))
	var told net.Error
	if !errors.Is(err, os.ErrDeadlineExceeded) || !errors.As(err, &told) || !told.Timeout() {
		t.Fatalf("after the deadline: %v", err)
	}

	_ = ours.SetReadDeadline(time.Time{})
	_ = theirs.SetLinger(0)
	_ = theirs.Close() // resets
	_, err = ours.Read(make([]byte, 10))
	var op *net.OpError
	if !errors.Is(err, syscall.ECONNRESET) || !errors.As(err, &op) || op.Op != "read" || op.Addr == nil {
		t.Fatalf("after a reset: %#v", err)
	}
	for err = nil; err == nil; {
		_, err = ours.Write([]byte("x"))
	}
	if !errors.Is(err, syscall.EPIPE) && !errors.Is(err, syscall.ECONNRESET) {
		t.Fatalf("writing to nobody: %v", err)
	}

	_ = ours.Close()
	if _, err := ours.Write([]byte("x")); !errors.Is(err, net.ErrClosed) {
		t.Fatalf("after Close: %v", err)
	}
}

func TestCloseEndsAReadThatWaits(t *testing.T) {
	ours, theirs := pair(t)
	reading := make(chan error)
	go func() {
		buffer := make([]byte, 1)
		_, err := ours.Read(buffer) // the byte that says that it reads
		reading <- err
		_, err = ours.Read(buffer)
		reading <- err
	}()
	if _, err := theirs.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	if err := <-reading; err != nil {
		t.Fatal(err)
	}
	_ = ours.Close()
	if err := <-reading; !errors.Is(err, net.ErrClosed) {
		t.Fatalf("a read that waited: %v", err)
	}
}

// TryWrite fills what the kernel holds for a reader who does not read, and
// returns; Write waits until there is a reader.
func TestTryWriteDoesNotWait(t *testing.T) {
	ours, theirs := pair(t)
	chunk := bytes.Repeat([]byte("x"), 10000)
	total := 0
	for {
		n, err := ours.TryWrite(chunk)
		if err != nil {
			t.Fatal(err)
		}
		total += n
		if n < len(chunk) {
			break
		}
	}
	if total == 0 {
		t.Fatal("nothing was taken")
	}
	if n, err := ours.TryWrite(make([]byte, 4*callBytesMax)); n != 0 || err != nil {
		t.Fatalf("a full socket took %d, %v", n, err)
	}
	var writing sync.WaitGroup
	writing.Go(func() {
		if n, err := ours.Write(chunk); n != len(chunk) || err != nil {
			t.Errorf("wrote %d: %v", n, err)
		}
	})
	if n, err := io.CopyN(io.Discard, theirs, int64(total+len(chunk))); err != nil {
		t.Fatalf("read %d: %v", n, err)
	}
	writing.Wait()
}

// Writes of several goroutines do not mix.
func TestWritesAreWhole(t *testing.T) {
	ours, theirs := pair(t)
	const writers, writes, size = 4, 200, 3000
	var writing sync.WaitGroup
	for w := range writers {
		writing.Go(func() {
			for range writes {
				if _, err := ours.Write(bytes.Repeat([]byte{byte('a' + w)}, size)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	got := make([]byte, size)
	for range writers * writes {
		if _, err := io.ReadFull(theirs, got); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, bytes.Repeat(got[:1], size)) {
			t.Fatal("two writes are mixed")
		}
	}
	writing.Wait()
}

func TestOthersStayAsTheyAre(t *testing.T) {
	a, b := net.Pipe()
	defer a.Close()
	defer b.Close()
	if Wrap(a) != a {
		t.Fatal("a pipe was wrapped")
	}
	ours, _ := pair(t)
	if Wrap(ours) != net.Conn(ours) {
		t.Fatal("a connection was wrapped twice")
	}
}
