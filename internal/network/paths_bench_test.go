package network

import (
	"io"
	"net"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/moby/moby/api/types/swarm"

	"shoal/internal/cluster"
)

// path is a way that a connection can take to the same server.
type path struct {
	name, over string // over is the path that it is compared with
	in         func(func() error) error
	// Addresses of the server that reads on, and of the one that answers a byte: the second has a port for each path. Ports
	// that a client has just had with one server are still noted in conntrack, and a connection that comes to that server
	// another way must first find itself another.
	bulk, call string
}

// BenchmarkPaths compares the ways to a task on node b: over the bare link, from another task, through the service's
// address, and from outside through the published port of the task's node and of another. Every round measures all of them in
// turn; the ratios are those of the medians. Ten seconds a round: -benchtime 5x is five rounds, once with a plain ingress network
// and once with an encrypted one.
func BenchmarkPaths(b *testing.B) {
	ingress := cluster.NetworkLink{ID: "ingress", VNI: 4096, Ingress: true, Subnets: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/24")}}
	b.Run("ingress=plain", func(b *testing.B) { paths(b, ingress) })
	ingress.Encrypted, ingress.Rings, ingress.Sends = true, []cluster.Ring{{Generation: 1}}, 1
	b.Run("ingress=encrypted", func(b *testing.B) { paths(b, ingress) })
}

func paths(b *testing.B, ingress cluster.NetworkLink) {
	r := newRig(b)
	s := newStory(r.node("a", 11), r.node("b", 12))
	s.network(ingress)
	s.network(cluster.NetworkLink{
		ID: "net", VNI: 4097, Subnets: []netip.Prefix{netip.MustParsePrefix("10.0.9.0/24")},
		Services: []cluster.VIP{{ServiceID: "web", Name: "web", Addresses: []netip.Addr{addr("10.0.9.2")}}},
	})
	for published, target := range map[uint32]uint32{8090: 90, 8097: 97, 8098: 98} {
		s.state.Ports = append(s.state.Ports, cluster.Port{ServiceID: "web", Backends: []netip.Addr{addr("10.0.0.6")}, Config: swarm.PortConfig{
			Protocol: "tcp", TargetPort: target, PublishedPort: published, PublishMode: swarm.PortConfigPublishModeIngress,
		}})
	}
	s.set(b)
	s.task(0, "a1", "client", at("net", "10.0.9.5/24"))
	s.task(1, "b1", "web", at("net", "10.0.9.6/24"), at("ingress", "10.0.0.6/24"))
	s.set(b)
	if ingress.Encrypted {
		s.exchange(b)
	}
	one, two := s.nodes[0], s.nodes[1]
	sink(b, two)
	for _, port := range []string{":95", ":96", ":97", ":98"} {
		answer(b, two.inside(id("b1")), port)
	}
	answer(b, two.onHost, ":94")
	bulk(b, two.onHost, ":93")
	ways := []path{
		{"link", "", r.outside, "10.98.0.12:93", "10.98.0.12:94"},
		{"direct", "link", one.inside(id("a1")), "10.0.9.6:90", "10.0.9.6:95"},
		{"vip", "direct", one.inside(id("a1")), "10.0.9.2:90", "10.0.9.2:96"},
		{"mesh", "link", r.outside, "10.98.0.12:8090", "10.98.0.12:8097"},
		{"mesh_through_other", "link", r.outside, "10.98.0.11:8090", "10.98.0.11:8098"},
	}
	bits, calls := map[string][]float64{}, map[string][]float64{}
	for range b.N {
		for _, p := range ways {
			bits[p.name] = append(bits[p.name], pour(b, p))
		}
		for range 10 { // short slices, so that what else the machine does meets all paths alike
			for _, p := range ways {
				calls[p.name] = append(calls[p.name], connect(b, p))
			}
		}
	}
	median := func(list []float64) float64 { slices.Sort(list); return list[len(list)/2] }
	for _, p := range ways {
		if p.over == "" {
			b.ReportMetric(median(bits[p.name])/1e9, p.name+"_Gbit/s")
			b.ReportMetric(median(calls[p.name]), p.name+"_conn/s")
			continue
		}
		b.ReportMetric(median(bits[p.name])/median(bits[p.over]), p.name+"/"+p.over)
		b.ReportMetric(median(calls[p.name])/median(calls[p.over]), p.name+"/"+p.over+"_conn")
	}
	b.ReportMetric(0, "ns/op")
}

const pathTime, sliceTime = time.Second, 100 * time.Millisecond

// pour is bits per second over one stream.
func pour(b *testing.B, p path) float64 {
	var c net.Conn
	if err := p.in(func() (err error) { c, err = net.DialTimeout("tcp", p.bulk, 5*time.Second); return err }); err != nil {
		b.Fatalf("%s: %v", p.name, err)
	}
	defer c.Close()
	block := make([]byte, 1<<20)
	begin, size := time.Now(), 0
	for time.Since(begin) < pathTime {
		n, err := c.Write(block)
		if err != nil {
			b.Fatal(err)
		}
		size += n
	}
	return float64(size) * 8 / time.Since(begin).Seconds()
}

// connect is new connections per second, one after the other, each with a byte there and back.
func connect(b *testing.B, p path) float64 {
	count := 0
	begin := time.Now()
	err := p.in(func() error {
		for ; time.Since(begin) < sliceTime; count++ {
			if err := exchange(p.call); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		b.Fatalf("%s: %v", p.name, err)
	}
	return float64(count) / time.Since(begin).Seconds()
}

// bulk reads and forgets; answer gives each connection a byte for a byte.
func bulk(tb testing.TB, in func(func() error) error, address string) {
	listen(tb, in, address, func(c net.Conn) { _, _ = io.Copy(io.Discard, struct{ io.Reader }{c}) })
}

func answer(tb testing.TB, in func(func() error) error, address string) {
	listen(tb, in, address, func(c net.Conn) { _, _ = io.CopyN(c, c, 1) })
}

func listen(tb testing.TB, in func(func() error) error, address string, serve func(net.Conn)) {
	var l net.Listener
	if err := in(func() (err error) { l, err = net.Listen("tcp", address); return err }); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() { serve(c); c.Close() }()
		}
	}()
}
