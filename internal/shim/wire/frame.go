package wire

import (
	"encoding/binary"
	"fmt"
	"io"
)

// Streams of the attach socket.
const (
	Stdin  byte = 0
	Stdout byte = 1
	Stderr byte = 2
	Ready  byte = 3
)

// MaxFrame bounds a frame's data, in bytes; a longer one is a broken peer.
const MaxFrame = 1 << 20

// WriteFrame writes one frame with a single Write. Data longer than MaxFrame is refused.
func WriteFrame(w io.Writer, stream byte, data []byte) error {
	if len(data) > MaxFrame {
		return fmt.Errorf("frame of %d bytes: at most %d are allowed", len(data), MaxFrame)
	}
	b := make([]byte, 5+len(data))
	b[0] = stream
	binary.BigEndian.PutUint32(b[1:], uint32(len(data)))
	copy(b[5:], data)
	_, err := w.Write(b)
	return err
}

// ReadFrame reads one frame into buf, which it grows when it must, and returns the stream and the data. io.EOF: the
// peer has ended in good order, between frames.
func ReadFrame(r io.Reader, buf []byte) (stream byte, data []byte, err error) {
	var head [5]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return 0, nil, err
	}
	n := int(binary.BigEndian.Uint32(head[1:]))
	if n > MaxFrame {
		return 0, nil, fmt.Errorf("frame of %d bytes: at most %d are allowed", n, MaxFrame)
	}
	if cap(buf) < n {
		buf = make([]byte, n)
	}
	buf = buf[:n]
	if _, err := io.ReadFull(r, buf); err != nil {
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		return 0, nil, err
	}
	return head[0], buf, nil
}
