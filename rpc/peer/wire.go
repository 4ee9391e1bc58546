package peer

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"

	"google.golang.org/protobuf/proto"
)

// Preface is what a member sends first on the connection of a lane. It is as long
// as that of HTTP/2, so that one look tells the two apart. The protocol's version
// is in the hello behind it.
const Preface = "raft-kv lane of a peer\r\n"

// lengthBytes is the size of the length before each message. A length of 0 is a
// question whether the other side is alive, and the answer to it.
const lengthBytes = 4

var errNoLane = errors.New("the connection does not begin as a lane does")

// appendFramed appends m behind its length.
func appendFramed(b []byte, m proto.Message) ([]byte, error) {
	at := len(b)
	b, err := proto.MarshalOptions{}.MarshalAppend(append(b, 0, 0, 0, 0), m)
	if err != nil {
		return nil, fmt.Errorf("encode a frame: %w", err)
	}
	size := len(b) - at - lengthBytes
	if size > MaxFrameBytes {
		return nil, fmt.Errorf("encode a frame: %d bytes are more than %d", size, MaxFrameBytes)
	}
	binary.BigEndian.PutUint32(b[at:], uint32(size))
	return b, nil
}

// frameReader reads what appendFramed wrote.
type frameReader struct {
	r     *bufio.Reader
	large []byte // for messages that the reader's buffer does not hold
}

const readBufferBytes = 64 << 10

func newFrameReader(conn net.Conn) *frameReader {
	return &frameReader{r: bufio.NewReaderSize(conn, readBufferBytes)}
}

// preface reads the bytes that every lane begins with.
func (f *frameReader) preface() error {
	head, err := f.r.Peek(len(Preface))
	if err != nil {
		return err
	}
	if string(head) != Preface {
		return errNoLane
	}
	_, err = f.r.Discard(len(Preface))
	return err
}

// next reads a message into m; empty: its length was 0.
func (f *frameReader) next(m proto.Message) (empty bool, err error) {
	head, err := f.r.Peek(lengthBytes)
	if err != nil {
		return false, err
	}
	size := int(binary.BigEndian.Uint32(head))
	if size > MaxFrameBytes {
		return false, fmt.Errorf("a frame of %d bytes, of which at most %d are allowed", size, MaxFrameBytes)
	}
	if _, err := f.r.Discard(lengthBytes); err != nil || size == 0 {
		return true, err
	}
	if size > readBufferBytes {
		return false, f.nextLarge(m, size)
	}
	body, err := f.r.Peek(size)
	if err != nil {
		return false, err
	}
	if err := proto.Unmarshal(body, m); err != nil {
		return false, fmt.Errorf("decode a frame: %w", err)
	}
	_, err = f.r.Discard(size)
	return false, err
}

// largeKeptBytes is how much of a buffer for large messages is kept for the next.
const largeKeptBytes = 2 << 20

func (f *frameReader) nextLarge(m proto.Message, size int) error {
	if cap(f.large) < size {
		f.large = make([]byte, size)
	}
	body := f.large[:size]
	if cap(f.large) > largeKeptBytes {
		f.large = nil
	}
	if _, err := io.ReadFull(f.r, body); err != nil {
		return err
	}
	if err := proto.Unmarshal(body, m); err != nil {
		return fmt.Errorf("decode a frame: %w", err)
	}
	return nil
}
