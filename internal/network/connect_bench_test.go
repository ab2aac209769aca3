package network

import (
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"testing"
	"time"

	"shoal/internal/cluster"
)

// BenchmarkConnect takes the time of new connections to a task on another node, to its own address and to its service's in
// turn, one after the other: what else the machine does meets both alike. A round is 200 of each; the ratios are those of the
// quartiles and of the medians, above 1 when the service's address is the quicker.
func BenchmarkConnect(b *testing.B) {
	r := newRig(b)
	s := newStory(r.node("a", 11), r.node("b", 12))
	s.network(cluster.NetworkLink{
		ID: "net", VNI: 4097, Subnets: []netip.Prefix{netip.MustParsePrefix("10.0.9.0/24")},
		Services: []cluster.VIP{{ServiceID: "web", Name: "web", Addresses: []netip.Addr{addr("10.0.9.2")}}},
	})
	s.set(b)
	s.task(0, "a1", "client", at("net", "10.0.9.5/24"))
	s.task(1, "b1", "web", at("net", "10.0.9.6/24"))
	s.set(b)
	ways := []string{"10.0.9.6:95", "10.0.9.2:96"} // a port each: see path
	for _, w := range ways {
		_, port, err := net.SplitHostPort(w)
		if err != nil {
			b.Fatal(err)
		}
		answer(b, s.nodes[1].inside(id("b1")), ":"+port)
	}
	took := make([][]time.Duration, len(ways))
	for range b.N {
		err := s.nodes[0].in(id("a1"), func() error {
			for i := range 200 * len(ways) {
				way := (i + i/len(ways)) % len(ways) // neither is always the first
				begin := time.Now()
				if err := exchange(ways[way]); err != nil {
					return fmt.Errorf("%s: %w", ways[way], err)
				}
				took[way] = append(took[way], time.Since(begin))
			}
			return nil
		})
		if err != nil {
			b.Fatal(err)
		}
	}
	for i := range took {
		slices.Sort(took[i])
	}
	for name, part := range map[string]int{"quartile": 4, "median": 2} {
		direct, vip := took[0][len(took[0])/part], took[1][len(took[1])/part]
		b.ReportMetric(float64(direct.Microseconds()), name+"_direct_µs")
		b.ReportMetric(float64(direct)/float64(vip), name+"_vip/direct")
	}
	b.ReportMetric(0, "ns/op")
}

// exchange is one connection with a byte there and back.
func exchange(address string) error {
	c, err := net.DialTimeout("tcp", address, 5*time.Second)
	if err != nil {
		return err
	}
	if _, err = c.Write([]byte{1}); err == nil {
		_, err = io.ReadFull(c, make([]byte, 1))
	}
	_ = c.(*net.TCPConn).SetLinger(0) // no port waits
	c.Close()
	return err
}
