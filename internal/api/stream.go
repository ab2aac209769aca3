package api

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/moby/moby/api/types"
	"github.com/moby/moby/api/types/jsonstream"
)

// hijacked is a connection taken over from HTTP: raw bytes both ways.
type hijacked struct {
	net.Conn
	in io.Reader // what HTTP has read already, then the connection itself
}

func (h *hijacked) Read(p []byte) (int, error) { return h.in.Read(p) }

// hijack takes the connection over and answers: with 101 to a client that asks for the upgrade, else with 200. After
// it no error can become a status any more.
func hijack(w http.ResponseWriter, r *http.Request, media string) (*hijacked, error) {
	conn, buf, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return nil, fmt.Errorf("take over the connection: %w", err)
	}
	if err := conn.SetDeadline(time.Time{}); err != nil { // the server's own may be set
		conn.Close()
		return nil, err
	}
	head := "HTTP/1.1 200 OK\r\nContent-Type: " + types.MediaTypeRawStream + "\r\n\r\n"
	if r.Header.Get("Upgrade") != "" {
		head = "HTTP/1.1 101 UPGRADED\r\nContent-Type: " + media + "\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n"
	}
	if _, err := io.WriteString(conn, head); err != nil {
		conn.Close()
		return nil, err
	}
	// Only what is buffered comes from HTTP's reader: at the end of the input that one would cancel the request's
	// context, and a client may end its input long before it has all of the output.
	early, err := buf.Reader.Peek(buf.Reader.Buffered())
	if err != nil {
		conn.Close()
		return nil, err
	}
	return &hijacked{conn, io.MultiReader(bytes.NewReader(early), conn)}, nil
}

// streamMedia is the type of a stream: of a terminal the bytes as they are, else frames, which old clients do not know
// by a name of their own.
func streamMedia(r *http.Request, tty bool) string {
	if tty || versionOf(r) < 42 {
		return types.MediaTypeRawStream
	}
	return types.MediaTypeMultiplexedStream
}

// frames writes the two output streams of a process into one, each write with a header that names its stream.
type frames struct {
	mu sync.Mutex // a frame is written whole
	w  io.Writer
}

// stream returns the writer of one stream.
func (f *frames) stream(id byte) io.Writer { return &frameWriter{f, id} }

type frameWriter struct {
	f  *frames
	id byte
}

func (w *frameWriter) Write(p []byte) (int, error) {
	b := make([]byte, 8+len(p))
	b[0] = w.id
	binary.BigEndian.PutUint32(b[4:], uint32(len(p))) //nolint:gosec // a write is far below 4 GiB
	copy(b[8:], p)
	w.f.mu.Lock()
	defer w.f.mu.Unlock()
	if n, err := w.f.w.Write(b); err != nil {
		return max(0, n-8), err
	}
	return len(p), nil
}

// outputs are the writers for a process's output: of a terminal all goes to the first as it is.
func outputs(w io.Writer, tty bool) (stdout, stderr io.Writer) {
	if tty {
		return w, w
	}
	f := &frames{w: w}
	return f.stream(frameStdout), f.stream(frameStderr)
}

// flusher sends what is written at once.
type flusher struct{ w http.ResponseWriter }

func (f flusher) Write(p []byte) (int, error) {
	n, err := f.w.Write(p)
	if err == nil {
		err = http.NewResponseController(f.w).Flush()
	}
	return n, err
}

// progress writes the messages of a long operation, one JSON object a line. The first one sends the status 200.
type progress struct {
	mu    sync.Mutex
	w     http.ResponseWriter
	begun bool
}

// message is what clients read, old ones too: they look for the error as a plain string.
type message struct {
	jsonstream.Message
	Err string `json:"error,omitempty"`
}

func (p *progress) add(m jsonstream.Message) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.begun {
		p.begun = true
		p.w.Header().Set("Content-Type", "application/json")
	}
	out := message{Message: m}
	if m.Error != nil {
		out.Err = m.Error.Message
	}
	b, err := json.Marshal(out)
	if err != nil {
		return // a message of ours always encodes
	}
	_, _ = flusher{p.w}.Write(append(b, '\r', '\n')) // a client that has gone is noticed by its context
}

// end turns an error into the status, or into a message when the answer has begun.
func (p *progress) end(err error) error {
	p.mu.Lock()
	begun := p.begun
	p.mu.Unlock()
	if err == nil {
		if !begun {
			p.w.Header().Set("Content-Type", "application/json")
			p.w.WriteHeader(http.StatusOK)
		}
		return nil
	}
	if !begun {
		return err
	}
	p.add(jsonstream.Message{Error: &jsonstream.Error{Code: status(err), Message: err.Error()}})
	return nil
}
