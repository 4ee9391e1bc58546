package h2

import (
	"testing"
	"testing/synctest"
	"time"
)

var keepaliveConfig = Config{KeepaliveInterval: time.Minute, KeepaliveTimeout: 10 * time.Second, PingsMinTime: 5 * time.Second}

// A client that answers stays; one that does not is cut off.
func TestKeepalive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, l := serve(t, keepaliveConfig, handlers{})
		c := connect(t, l).greet()
		for range 3 {
			time.Sleep(time.Minute + time.Second)
			c.expect("PING \x00")
			c.must(c.fr.WritePing(true, [8]byte{}))
		}
		began := time.Now()
		<-c.ended
		if took := time.Since(began); took != time.Minute+10*time.Second {
			t.Errorf("it was cut off after %v", took)
		}
	})
}

// Whoever says anything is not asked.
func TestKeepaliveOfABusyClient(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, l := serve(t, keepaliveConfig, handlers{})
		c := connect(t, l).greet()
		for id := uint32(1); id < 21; id += 2 {
			c.call(id, unaryPath, 1)
			time.Sleep(59 * time.Second)
			for _, line := range c.said() {
				if line[:4] == "PING" {
					t.Fatal(line)
				}
			}
		}
	})
}

// Pings may come at their time while there is a request, and after every answer.
func TestPingsAtTheirTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, l := serve(t, keepaliveConfig, handlers{})
		c := connect(t, l).greet()
		c.begin(1, streamPath)
		for range 10 {
			c.must(c.fr.WritePing(false, [8]byte{1}))
			time.Sleep(laterTime) // an acknowledgement may wait for company
			c.expect("PING ack \x01")
			time.Sleep(5 * time.Second)
		}
		for range 10 {
			c.data(1, false, packed(t, 1))
			c.expect("DATA 1")
			c.must(c.fr.WritePing(false, [8]byte{2}))
		}
		c.must(c.fr.WriteRSTStream(1, 0))
		time.Sleep(time.Second)
		c.said()
		for range pingStrikesMax + 1 { // now there is none, and five seconds are too often
			c.must(c.fr.WritePing(false, [8]byte{3}))
			time.Sleep(5 * time.Second)
		}
		c.expect("GOAWAY 1 ENHANCE_YOUR_CALM too_many_pings")
	})
}

// Clients ping when they have been answered, to estimate the link. That is
// acknowledged with the next answer or after a moment; another ping asks whether we
// are alive, and is acknowledged at once.
func TestPingsAfterAnswersAreAcknowledgedWithTheNext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, l := serve(t, keepaliveConfig, handlers{})
		c := connect(t, l).greet()
		c.said()
		c.call(1, unaryPath, 100)
		c.expect("DATA 1")
		c.must(c.fr.WritePing(false, [8]byte{1}))
		if got := c.said(); len(got) != 0 {
			t.Fatalf("the server said %q at once, with no answer to take it along", got)
		}
		c.call(3, unaryPath, 100)
		c.expect("PING ack \x01", "DATA 3")

		// Also one that comes between the frames of the next request.
		c.begin(5, unaryPath)
		c.must(c.fr.WritePing(false, [8]byte{4}))
		message := packed(t, 50)
		c.data(5, false, message[:20])
		if got := c.said(); len(got) != 0 {
			t.Fatalf("the server said %q before the request was whole", got)
		}
		c.data(5, true, message[20:])
		c.expect("PING ack \x04", "DATA 5")

		c.must(c.fr.WritePing(false, [8]byte{2}))
		if got := c.said(); len(got) != 0 {
			t.Fatalf("the server said %q at once", got)
		}
		time.Sleep(laterTime)
		c.expect("PING ack \x02")

		c.must(c.fr.WritePing(false, [8]byte{3})) // there was no answer since the last
		c.expect("PING ack \x03")
	})
}
