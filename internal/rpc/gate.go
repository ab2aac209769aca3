package rpc

import (
	"container/list"
	"crypto/tls"
	"net"
	"sync"
	"time"
)

// gate bounds the connections of callers that have not said who they are: so many from one address, which are then refused, and
// so many from all, when the oldest makes room. An honest caller is through within a second, so that a crowd of idle ones cannot
// keep it out. The zero value is ready; max and one must be set.
type gate struct {
	max, one int // at once, and of them from one address

	mu    sync.Mutex
	open  map[string]int // by address
	order list.List      // of *seat, the oldest first
}

// seat is one connection's.
type seat struct {
	gate *gate
	conn net.Conn
	host string
	at   *list.Element // nil: given back
}

// enter gives the connection a seat, or nil: it is to be closed.
func (g *gate) enter(conn net.Conn, host string) *seat {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.open[host] >= g.one {
		return nil
	}
	if g.order.Len() >= g.max {
		oldest := g.order.Front().Value.(*seat)
		g.drop(oldest)
		go oldest.conn.Close() // which may wait for its handshake to take note
	}
	if g.open == nil {
		g.open = map[string]int{}
	}
	p := &seat{gate: g, conn: conn, host: host}
	p.at = g.order.PushBack(p)
	g.open[host]++
	return p
}

// leave gives the seat back. It may be called again.
func (p *seat) leave() {
	p.gate.mu.Lock()
	defer p.gate.mu.Unlock()
	p.gate.drop(p)
}

func (g *gate) drop(p *seat) {
	if p.at == nil {
		return
	}
	g.order.Remove(p.at)
	p.at = nil
	if g.open[p.host]--; g.open[p.host] <= 0 {
		delete(g.open, p.host)
	}
}

// brief is a connection of a caller without a certificate: it has a seat of its own, and ends after a time whatever is done
// with it.
type brief struct {
	*tls.Conn
	timer *time.Timer
	seat  *seat
}

func newBrief(conn *tls.Conn, life time.Duration, p *seat) *brief {
	return &brief{conn, time.AfterFunc(life, func() { conn.Close() }), p}
}

// Close ends the connection now.
func (b *brief) Close() error {
	b.timer.Stop()
	b.seat.leave()
	return b.Conn.Close()
}
