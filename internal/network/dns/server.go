package dns

import (
	"io"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"

	"github.com/miekg/dns"
)

// Source is who asks: an address in the network that a listener is in.
type Source struct {
	Listener string
	Addr     netip.Addr
}

// Asker is what a container may know.
type Asker struct {
	Networks []*Names
	Upstream []string // none: the node's
}

// View is all askers of the node. It is not changed once set.
type View map[Source]*Asker

// Server answers on any number of listeners.
type Server struct {
	log      *slog.Logger
	upstream *upstream
	view     atomic.Pointer[View]

	mu        sync.Mutex
	listeners map[string][]io.Closer
}

// New asks servers for names that are no container's; none: those of the node's resolv.conf.
func New(servers []string, log *slog.Logger) *Server {
	s := &Server{log: log, upstream: newUpstream(servers), listeners: map[string][]io.Closer{}}
	s.view.Store(&View{})
	return s
}

// Set replaces what is answered, at once.
func (s *Server) Set(v View) { s.view.Store(&v) }

// Listening tells whether a listener is there.
func (s *Server) Listening(name string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.listeners[name] != nil
}

// Listen answers on two sockets under a name until Stop or Close.
func (s *Server) Listen(name string, udp net.PacketConn, tcp net.Listener) {
	h := handler{s, name}
	servers := []*dns.Server{{PacketConn: udp, Handler: h}, {Listener: tcp, Handler: h}}
	s.mu.Lock()
	s.listeners[name] = []io.Closer{udp, tcp}
	s.mu.Unlock()
	for _, server := range servers {
		started := make(chan struct{})
		server.NotifyStartedFunc = func() { close(started) }
		go func() {
			if err := server.ActivateAndServe(); err != nil {
				s.log.Debug("name server ended", "network", name, "err", err)
			}
		}()
		<-started
	}
}

// Stop closes a listener's sockets: the address is free when it returns. Queries under way may still wait for upstream.
func (s *Server) Stop(name string) {
	s.mu.Lock()
	sockets := s.listeners[name]
	delete(s.listeners, name)
	s.mu.Unlock()
	for _, socket := range sockets {
		_ = socket.Close()
	}
}

// Close ends all listeners.
func (s *Server) Close() {
	s.mu.Lock()
	names := make([]string, 0, len(s.listeners))
	for name := range s.listeners {
		names = append(names, name)
	}
	s.mu.Unlock()
	for _, name := range names {
		s.Stop(name)
	}
}

type handler struct {
	*Server
	listener string
}

// ServeDNS answers one query.
func (h handler) ServeDNS(w dns.ResponseWriter, q *dns.Msg) {
	from, network := addrOf(w.RemoteAddr())
	asker := (*h.view.Load())[Source{h.listener, from}]
	if asker == nil {
		asker = &Asker{}
	}
	reply := asker.answer(q)
	if reply == nil {
		reply = h.upstream.ask(q, network, asker.Upstream)
	}
	if network == "udp" {
		size := dns.MinMsgSize
		if opt := q.IsEdns0(); opt != nil {
			size = int(opt.UDPSize())
		}
		reply.Truncate(size)
	}
	if err := w.WriteMsg(reply); err != nil {
		h.log.Debug("name server: reply not sent", "to", from, "err", err)
	}
}

func addrOf(a net.Addr) (netip.Addr, string) {
	switch a := a.(type) {
	case *net.UDPAddr:
		return a.AddrPort().Addr().Unmap(), "udp"
	case *net.TCPAddr:
		return a.AddrPort().Addr().Unmap(), "tcp"
	}
	return netip.Addr{}, "tcp"
}

// System is the node's own resolvers.
func (s *Server) System() []string { return s.upstream.fromSystem() }
