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
