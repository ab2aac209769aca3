package bench

import (
	"context"
	"fmt"
	"io"
	"net"
	"slices"
	"testing"
	"time"
)

const (
	pourTime    = 500 * time.Millisecond
	connections = 300 // of each, a round
)

// BenchmarkOverlay compares the overlay networks: one TCP stream, and new connections with a byte there and back, between
// containers on two machines, each daemon's own and both up at the same time, measured in turn.
func BenchmarkOverlay(b *testing.B) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Hour)
	defer cancel()
	all := subjects(b)
	var pairs []*pair
	for _, s := range all {
		pairs = append(pairs, newPair(b, ctx, s))
	}
	for b.Loop() {
		for range 4 {
			for _, p := range pairs {
				must(b, p.pour())
			}
		}
		for i := range connections {
			for j := range pairs {
				must(b, pairs[(i+j)%len(pairs)].connect()) // none is always the first
			}
		}
	}
	for _, p := range pairs {
		slices.Sort(p.bits)
		slices.Sort(p.took)
		b.ReportMetric(middle(p.bits)/1e9, p.name+"-Gbit/s")
		b.ReportMetric(float64(middle(p.took).Microseconds()), p.name+"-connection-µs")
	}
	if len(pairs) == 2 {
		b.ReportMetric(middle(pairs[1].bits)/middle(pairs[0].bits), "throughput-ratio")
		b.ReportMetric(float64(middle(pairs[0].took))/float64(middle(pairs[1].took)), "connections-ratio")
	}
	b.ReportMetric(0, "ns/op")
}

func middle[T any](sorted []T) T { return sorted[len(sorted)/2] }

// pair is two containers on two machines of one daemon, and what was measured between them.
type pair struct {
	name       string
	client     string // network namespace
	bulk, call string // the server's addresses: it reads on, and answers a byte
	bits       []float64
	took       []time.Duration
}

func newPair(b *testing.B, ctx context.Context, s subject) *pair {
	b.Helper()
	nodes, image := form(b, ctx, s, 1, 1)
	_, err := nodes[0].api.overlay(ctx, "net")
	must(b, err)
	client, err := nodes[0].guest(ctx, image, "net")
	must(b, err)
	server, err := nodes[1].guest(ctx, image, "net")
	must(b, err)
	address, err := nodes[1].addressOf(ctx, "guest", "net")
	must(b, err)
	p := &pair{name: s.name, client: client, bulk: net.JoinHostPort(address, "90"), call: net.JoinHostPort(address, "95")}
	must(b, serveIn(server, p.bulk, func(c net.Conn) { _, _ = io.Copy(io.Discard, struct{ io.Reader }{c}) }))
	must(b, serveIn(server, p.call, func(c net.Conn) { _, _ = io.CopyN(c, c, 1) }))
	return p
}

// serveIn serves until the process ends.
func serveIn(space, address string, serve func(net.Conn)) error {
	var l net.Listener
	if err := within(space, func() (err error) { l, err = net.Listen("tcp", address); return err }); err != nil {
		return err
	}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() { serve(c); c.Close() }()
		}
	}()
	return nil
}

// pour notes the bits a second of one stream.
func (p *pair) pour() error {
	c, err := dialIn(p.client)(context.Background(), "tcp", p.bulk)
	if err != nil {
		return fmt.Errorf("%s: %w", p.name, err)
	}
	defer c.Close()
	block := make([]byte, 1<<20)
	begin, size := time.Now(), 0
	for time.Since(begin) < pourTime {
		n, err := c.Write(block)
		if err != nil {
			return fmt.Errorf("%s: %w", p.name, err)
		}
		size += n
	}
	p.bits = append(p.bits, float64(size)*8/time.Since(begin).Seconds())
	return nil
}

// connect notes the time of one new connection.
func (p *pair) connect() error {
	err := within(p.client, func() error {
		begin := time.Now()
		c, err := net.Dial("tcp", p.call)
		if err != nil {
			return err
		}
		defer c.Close()
		_ = c.(*net.TCPConn).SetLinger(0) // no port waits
		if _, err = c.Write([]byte{1}); err != nil {
			return err
		}
		if _, err := io.ReadFull(c, make([]byte, 1)); err != nil {
			return err
		}
		p.took = append(p.took, time.Since(begin))
		return nil
	})
	if err != nil {
		return fmt.Errorf("%s: %w", p.name, err)
	}
	return nil
}
