package wire

import (
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"time"
)

const (
	here    = 1 // the tests' own process dials as this node
	there   = 2
	silence = 200 * time.Millisecond
)

// echo answers every byte with itself.
func echo(t *testing.T) (address string) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	go func() {
		for {
			c, err := listener.Accept()
			if err != nil {
				return
			}
			go func() { _, _ = io.Copy(c, c); _ = c.Close() }()
		}
	}()
	return listener.Addr().String()
}

func testNetwork(t *testing.T) (*Network, string) {
	t.Helper()
	if !Supported {
		t.Skip("SKIPPED: telling connections apart needs /proc of Linux")
	}
	n := New()
	n.Process(here, os.Getpid())
	url, err := n.Open(there, echo(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := n.Close(); err != nil {
			t.Error(err)
		}
	})
	return n, strings.TrimPrefix(url, "http://")
}

func dial(t *testing.T, address string) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// ask sends a byte and waits for the answer.
func ask(c net.Conn, within time.Duration) (time.Duration, error) {
	began := time.Now()
	if err := c.SetDeadline(began.Add(within)); err != nil {
		return 0, err
	}
	if _, err := c.Write([]byte{1}); err != nil {
		return 0, err
	}
	_, err := io.ReadFull(c, make([]byte, 1))
	return time.Since(began), err
}

func TestDropIsSilentAndOneWay(t *testing.T) {
	for _, way := range [][2]int{{here, there}, {there, here}} {
		n, address := testNetwork(t)
		c := dial(t, address)
		if _, err := ask(c, time.Minute); err != nil {
			t.Fatal(err)
		}
		if err := n.Drop(way[0], way[1]); err != nil {
			t.Fatal(err)
		}
		if _, err := ask(c, silence); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("dropping %v: %v", way, err)
		}
		if _, err := ask(dial(t, address), silence); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("dropping %v, a new connection: %v", way, err)
		}
		if err := n.Heal(); err != nil {
			t.Fatal(err)
		}
		if _, err := ask(c, time.Minute); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("a connection that lost bytes goes on: %v", err)
		}
		if _, err := ask(dial(t, address), time.Minute); err != nil {
			t.Errorf("healed: %v", err)
		}
	}
}

func TestOthersAreNotTouched(t *testing.T) {
	n, address := testNetwork(t)
	c := dial(t, address)
	if err := n.Drop(3, there); err != nil {
		t.Fatal(err)
	}
	n.Refuse(3, there)
	if _, err := ask(c, time.Minute); err != nil {
		t.Error(err)
	}
	if _, err := ask(dial(t, address), time.Minute); err != nil {
		t.Error(err)
	}
}

func TestRefuseResetAndSlow(t *testing.T) {
	n, address := testNetwork(t)
	c := dial(t, address)
	if _, err := ask(c, time.Minute); err != nil {
		t.Fatal(err)
	}
	if broken := n.Reset(func(dials, reaches int) bool { return dials == here && reaches == there }); broken != 1 {
		t.Errorf("%d connections were reset", broken)
	}
	if _, err := ask(c, time.Minute); err == nil {
		t.Error("a connection outlived its reset")
	}
	n.Refuse(there, here)
	if _, err := ask(dial(t, address), time.Minute); err == nil {
		t.Error("a refused connection works")
	}
	if err := n.Heal(); err != nil {
		t.Fatal(err)
	}
	c = dial(t, address)
	if err := n.Slow(here, there, 100*time.Millisecond, 0); err != nil {
		t.Fatal(err)
	}
	if took, err := ask(c, time.Minute); err != nil || took < 100*time.Millisecond {
		t.Errorf("a slow link answers after %v: %v", took, err)
	}
	if dialled, strangers := n.Dialled(); dialled != 2 || strangers != 0 {
		t.Errorf("%d connections, %d of strangers", dialled, strangers)
	}
}

func TestStrangersAreTurnedAway(t *testing.T) {
	n, address := testNetwork(t)
	n.Process(here, 1<<30)
	if _, err := ask(dial(t, address), time.Minute); err == nil {
		t.Error("somebody unknown was let in")
	}
	if _, strangers := n.Dialled(); strangers != 1 {
		t.Errorf("%d strangers", strangers)
	}
}
