package h2

import (
	"encoding/binary"
	"fmt"
	"time"

	"golang.org/x/net/http2"
)

// settings takes in what the client wants, and says so.
func (c *conn) settings(f frame) error {
	switch {
	case f.stream != 0:
		return connError{http2.ErrCodeProtocol, "SETTINGS of a stream"}
	case f.flags.Has(http2.FlagSettingsAck) && len(f.payload) != 0, len(f.payload)%6 != 0:
		return connError{http2.ErrCodeFrameSize, "a faulty SETTINGS"}
	case f.flags.Has(http2.FlagSettingsAck):
		return nil
	}
	c.mu.Lock()
	defer c.unlockAndSpawn()
	for b := f.payload; len(b) > 0; b = b[6:] {
		if err := c.setting(http2.SettingID(binary.BigEndian.Uint16(b)), binary.BigEndian.Uint32(b[2:])); err != nil {
			return err
		}
	}
	c.owe(appendFrameHeader(c.mu.out, 0, http2.FrameSettings, http2.FlagSettingsAck, 0))
	return nil
}

// setting takes in one value. The caller holds mu.
func (c *conn) setting(id http2.SettingID, v uint32) error {
	if err := (http2.Setting{ID: id, Val: v}).Valid(); err != nil {
		code, _ := err.(http2.ConnectionError)
		return connError{http2.ErrCode(code), fmt.Sprintf("%v may not be %d", id, v)}
	}
	switch id {
	case http2.SettingHeaderTableSize:
		c.mu.answers.limitTable(v)
	case http2.SettingMaxFrameSize:
		// Larger frames would only make others wait.
	case http2.SettingInitialWindowSize:
		change := int64(v) - c.mu.streamWindow
		c.mu.streamWindow = int64(v)
		for _, s := range c.mu.streams {
			if s.sendWindow += change; s.sendWindow > windowBytesLimit {
				return connError{http2.ErrCodeFlowControl, "a window grows beyond its limit"}
			}
		}
		c.wakeSenders()
	}
	return nil
}

// owe replaces what is queued by what the reader has added to it, and counts
// that: it does not wait for a client that makes us answer and does not read.
// The caller holds mu.
func (c *conn) owe(out []byte) {
	c.owed.Add(int64(len(out) - len(c.mu.out)))
	c.mu.out = out
}

func (c *conn) windowUpdate(f frame) error {
	if len(f.payload) != 4 {
		return connError{http2.ErrCodeFrameSize, "a faulty WINDOW_UPDATE"}
	}
	more := int64(binary.BigEndian.Uint32(f.payload) & (1<<31 - 1))
	c.mu.Lock()
	defer c.mu.Unlock()
	if f.stream == 0 {
		if c.mu.sendWindow += more; more == 0 || c.mu.sendWindow > windowBytesLimit {
			return connError{windowFault(more), "a faulty window"}
		}
		c.wakeSenders()
		return nil
	}
	s := c.mu.streams[f.stream]
	if s == nil {
		return c.ofNoStream(f)
	}
	if s.sendWindow += more; more == 0 || s.sendWindow > windowBytesLimit {
		return streamError{f.stream, windowFault(more)}
	}
	s.wakeSender()
	return nil
}

func windowFault(more int64) http2.ErrCode {
	if more == 0 {
		return http2.ErrCodeProtocol
	}
	return http2.ErrCodeFlowControl
}

// ofNoStream judges a frame of a stream that is not there: one that ended is
// none of our concern, one that never began is. The caller holds mu.
func (c *conn) ofNoStream(f frame) error {
	if f.stream > c.mu.last || f.stream%2 == 0 {
		return connError{http2.ErrCodeProtocol, fmt.Sprintf("%v of a stream that never began", f.kind)}
	}
	return nil
}

func (c *conn) resetByClient(f frame) error {
	if len(f.payload) != 4 {
		return connError{http2.ErrCodeFrameSize, "a faulty RST_STREAM"}
	}
	c.mu.Lock()
	s := c.mu.streams[f.stream]
	if s == nil {
		err := c.ofNoStream(f)
		c.mu.Unlock()
		return err
	}
	c.forget(s)
	c.unlockAndSpawn()
	s.cancel()
	return nil
}

// reset ends a stream for a fault of the client.
func (c *conn) reset(fault streamError) {
	c.mu.Lock()
	s := c.mu.streams[fault.stream]
	if s != nil {
		c.forget(s)
	}
	c.owe(appendReset(c.mu.out, fault.stream, fault.code))
	c.unlockAndSpawn()
	if s != nil {
		s.cancel()
	}
}

func (c *conn) priority(f frame) error {
	switch {
	case f.stream == 0:
		return connError{http2.ErrCodeProtocol, "PRIORITY of no stream"}
	case len(f.payload) != 5:
		return streamError{f.stream, http2.ErrCodeFrameSize}
	case binary.BigEndian.Uint32(f.payload)&(1<<31-1) == f.stream:
		return streamError{f.stream, http2.ErrCodeProtocol}
	}
	return nil // who comes first is ours to decide
}

// pingWatch remembers the pings of a client; the reader alone uses it.
type pingWatch struct {
	last    time.Time
	strikes int
}

// pingStrikesMax is how many pings may come too soon, as with gRPC's own server.
const pingStrikesMax = 2

// idlePingsMinTime is how often a client may ping that has nothing in flight.
const idlePingsMinTime = 2 * time.Hour

func (c *conn) ping(f frame) error {
	switch {
	case len(f.payload) != 8:
		return connError{http2.ErrCodeFrameSize, "a faulty PING"}
	case f.stream != 0:
		return connError{http2.ErrCodeProtocol, "PING of a stream"}
	}
	data := [8]byte(f.payload)
	if f.flags.Has(http2.FlagPingAck) {
		if data == drainPing {
			c.heardDrain()
		}
		return nil
	}
	c.mu.Lock()
	// One that follows an answer estimates the link, and more requests will come.
	patient := (c.mu.answered || len(c.mu.streams) > 0) && len(c.mu.out) == c.mu.patientBytes
	c.owe(appendPing(c.mu.out, true, data))
	err := c.countPing()
	if err == nil && patient {
		c.unlockAndLater()
	} else {
		c.unlockAndSpawn()
	}
	return err
}

// countPing ends a connection that is pinged too often. The caller holds mu.
func (c *conn) countPing() error {
	now := time.Now()
	rest := c.server.cfg.PingsMinTime
	if len(c.mu.streams) == 0 && !c.server.cfg.PingsWithoutStream {
		rest = idlePingsMinTime
	}
	switch {
	case c.mu.answered:
		c.mu.answered = false
		c.pings.strikes = 0
	case now.Sub(c.pings.last) < rest:
		c.pings.strikes++
	}
	c.pings.last = now
	if c.pings.strikes > pingStrikesMax {
		return connError{http2.ErrCodeEnhanceYourCalm, "too_many_pings"}
	}
	return nil
}
