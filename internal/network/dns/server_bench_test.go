package dns

import (
	"encoding/binary"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"

	"shoal/internal/cluster"
)

// BenchmarkAnswer is one query from the bytes that came to the bytes that go, without sockets.
func BenchmarkAnswer(b *testing.B) {
	who := asker()
	packed, err := new(dns.Msg).SetQuestion("web.", dns.TypeA).Pack()
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		q := new(dns.Msg)
		if err := q.Unpack(packed); err != nil {
			b.Fatal(err)
		}
		if _, err := who.answer(q).Pack(); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkServer asks over the loopback: eight askers, each with its own socket and one question under way, for queries
// per second; and one question each 50 µs, for the time that an answer takes at 20,000 a second. The askers share the
// processors with the server: -cpu says how many there are for both.
func BenchmarkServer(b *testing.B) {
	udp, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	tcp, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	s := New([]string{"192.0.2.1"}, slog.New(slog.DiscardHandler))
	defer s.Close()
	s.Listen("n", udp, tcp)
	a := &Asker{Networks: []*Names{NewNames(cluster.NetworkLink{Services: []cluster.VIP{
		{ServiceID: "w", Name: "web", Addresses: []netip.Addr{netip.MustParseAddr("10.0.9.2")}},
	}}, nil)}}
	s.Set(View{{"n", netip.MustParseAddr("127.0.0.1")}: a})
	query, err := new(dns.Msg).SetQuestion("web.", dns.TypeA).Pack()
	if err != nil {
		b.Fatal(err)
	}
	dial := func() net.Conn {
		c, err := net.Dial("udp4", udp.LocalAddr().String())
		if err != nil {
			b.Fatal(err)
		}
		return c
	}
	b.Run("closed", func(b *testing.B) {
		var all sync.WaitGroup
		const askers = 8
		begin := time.Now()
		for range askers {
			all.Go(func() {
				c := dial()
				defer c.Close()
				buf := make([]byte, 512)
				for range b.N / askers {
					_, _ = c.Write(query)
					if _, err := c.Read(buf); err != nil {
						b.Error(err)
						return
					}
				}
			})
		}
		all.Wait()
		b.ReportMetric(float64(b.N)/time.Since(begin).Seconds(), "queries/s")
	})
	b.Run("paced", func(b *testing.B) {
		const gap, numbers = 50 * time.Microsecond, 1 << 16
		c := dial()
		defer c.Close()
		sent, took := make([]time.Time, b.N), make([]time.Duration, 0, b.N)
		var all sync.WaitGroup
		all.Go(func() {
			buf := make([]byte, 512)
			for len(took) < b.N {
				_ = c.SetReadDeadline(time.Now().Add(time.Second))
				if _, err := c.Read(buf); err != nil {
					return // the rest is lost
				}
				// The newest question with that number.
				i := int(binary.BigEndian.Uint16(buf))
				for i+numbers < b.N && !sent[i+numbers].IsZero() {
					i += numbers
				}
				took = append(took, time.Since(sent[i]))
			}
		})
		query := slices.Clone(query)
		tick := time.NewTicker(gap)
		defer tick.Stop()
		begin := time.Now()
		for i := 0; i < b.N; {
			<-tick.C
			for ; i < b.N && time.Since(begin) > time.Duration(i)*gap; i++ {
				binary.BigEndian.PutUint16(query, uint16(i))
				sent[i] = time.Now()
				_, _ = c.Write(query)
			}
		}
		all.Wait()
		if len(took) == 0 {
			return
		}
		slices.Sort(took)
		b.ReportMetric(float64(took[len(took)*99/100].Microseconds()), "p99_µs")
		b.ReportMetric(float64(b.N-len(took)), "lost")
		b.ReportMetric(float64(b.N)/sent[b.N-1].Sub(begin).Seconds(), "queries/s")
	})
}
