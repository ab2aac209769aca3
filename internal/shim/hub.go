package shim

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"sync"

	"shoal/internal/shim/wire"
)

// hub sends a container's output to every attached client and takes their input.
type hub struct {
	listener *net.UnixListener
	file     os.FileInfo     // of the socket
	once     bool            // the first client to end its input ends the container's
	closeIn  func()          // ends the container's input for good
	input    func() *os.File // where input is written; nil: nowhere
	inMu     sync.Mutex      // held while input is written, so that two clients' frames do not mix

	mu      sync.Mutex
	clients map[*peer]struct{}
	ended   bool
}

// peer is one attached client.
type peer struct {
	mu   sync.Mutex // a frame is written whole
	conn net.Conn
}

// listen opens the attach socket in place of a predecessor's.
func (h *hub) listen(path string) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	if err := os.Remove(path); err != nil && !os.IsNotExist(err) {
		return err
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		return err
	}
	h.listener, h.clients = l.(*net.UnixListener), map[*peer]struct{}{}
	if h.file, err = os.Lstat(path); err != nil {
		return errors.Join(err, l.Close())
	}
	go h.accept()
	return nil
}

func (h *hub) accept() {
	for {
		conn, err := h.listener.Accept()
		if err != nil {
			return // closed by end
		}
		p := &peer{conn: conn}
		p.mu.Lock() // output waits until the client knows that it is heard
		h.mu.Lock()
		ended := h.ended
		if !ended {
			h.clients[p] = struct{}{}
		}
		h.mu.Unlock()
		if ended {
			conn.Close()
			return
		}
		err = wire.WriteFrame(conn, wire.Ready, nil)
		p.mu.Unlock()
		if err != nil {
			h.drop(p)
			continue
		}
		go h.serve(p)
	}
}

// serve passes a client's input on until the client ends it.
func (h *hub) serve(p *peer) {
	var buf []byte
	for open := true; ; {
		stream, data, err := wire.ReadFrame(p.conn, buf)
		if err != nil || stream != wire.Stdin {
			if open {
				h.inputEnded()
			}
			h.drop(p)
			return
		}
		buf = data
		if len(data) == 0 && open {
			open = false
			h.inputEnded()
		} else if f := h.input(); f != nil && open {
			h.inMu.Lock()
			_, err := f.Write(data)
			h.inMu.Unlock()
			if err != nil {
				open = false // the container has closed its input; its output may still come
			}
		}
	}
}

func (h *hub) inputEnded() {
	if h.once {
		h.closeIn()
	}
}

// send gives output to every client, and waits for those who are slow.
func (h *hub) send(stream byte, data []byte) {
	h.mu.Lock()
	peers := make([]*peer, 0, len(h.clients))
	for p := range h.clients {
		peers = append(peers, p)
	}
	h.mu.Unlock()
	for _, p := range peers {
		p.mu.Lock()
		err := wire.WriteFrame(p.conn, stream, data)
		p.mu.Unlock()
		if err != nil {
			h.drop(p)
		}
	}
}

func (h *hub) drop(p *peer) {
	p.conn.Close()
	h.mu.Lock()
	delete(h.clients, p)
	h.mu.Unlock()
}

// end hangs up on every client and removes the socket. It may be called twice.
func (h *hub) end() {
	if h.listener == nil {
		return
	}
	h.mu.Lock()
	h.ended = true
	peers := h.clients
	h.clients = map[*peer]struct{}{}
	h.mu.Unlock()
	// Close removes the socket's file, unless another shim has put its own there: containerd was killed while it made the
	// container, and makes it again.
	if now, err := os.Lstat(h.listener.Addr().String()); err != nil || !os.SameFile(now, h.file) {
		h.listener.SetUnlinkOnClose(false)
	}
	h.listener.Close()
	for p := range peers {
		p.conn.Close()
	}
}
