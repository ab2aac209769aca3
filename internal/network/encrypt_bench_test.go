package network

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"shoal/internal/network/tunnel"
)

// BenchmarkEncrypted sends one TCP stream between tasks on two nodes through a plain and an encrypted network in turn, and
// gives the ratio of the medians. Three seconds a round: -benchtime 5x is five rounds of each.
func BenchmarkEncrypted(b *testing.B) {
	_, s := secret(b)
	s.pair(b)
	plain, encrypted := make([]float64, 0, b.N), make([]float64, 0, b.N)
	sink(b, s.nodes[1])
	for range b.N {
		plain = append(plain, throughput(b, s.nodes[0], "10.0.8.6:90"))
		encrypted = append(encrypted, throughput(b, s.nodes[0], "10.0.9.6:90"))
	}
	slices.Sort(plain)
	slices.Sort(encrypted)
	p, e := plain[len(plain)/2], encrypted[len(encrypted)/2]
	b.ReportMetric(p/1e9, "plain_Gbit/s")
	b.ReportMetric(e/1e9, "encrypted_Gbit/s")
	b.ReportMetric(e/p, "encrypted/plain")
	b.ReportMetric(resident(b), "MB_of_largest_device")
	b.ReportMetric(0, "ns/op")
}

// sink reads and forgets what comes to port 90 of b1.
func sink(tb testing.TB, n *node) {
	var l net.Listener
	if err := n.in(id("b1"), func() (err error) { l, err = net.Listen("tcp", ":90"); return err }); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() { _, _ = io.Copy(io.Discard, struct{ io.Reader }{c}) }()
		}
	}()
}

// throughput is bits per second from a1.
func throughput(tb testing.TB, n *node, to string) float64 {
	var c net.Conn
	if err := n.in(id("a1"), func() (err error) { c, err = net.Dial("tcp", to); return err }); err != nil {
		tb.Fatal(err)
	}
	defer c.Close()
	block := make([]byte, 1<<20)
	begin, size := time.Now(), 0
	for time.Since(begin) < 3*time.Second {
		k, err := c.Write(block)
		if err != nil {
			tb.Fatal(err)
		}
		size += k
	}
	return float64(size) * 8 / time.Since(begin).Seconds()
}

// resident is the largest of the devices' processes at its peak, in MB.
func resident(tb testing.TB) (most float64) {
	self, _ := os.Executable()
	dirs, err := os.ReadDir("/proc")
	if err != nil {
		tb.Fatal(err)
	}
	for _, d := range dirs {
		args, _ := os.ReadFile("/proc/" + d.Name() + "/cmdline")
		if own, _ := os.Readlink("/proc/" + d.Name() + "/exe"); own != self || !bytes.Contains(args, []byte(tunnel.Word)) {
			continue
		}
		status, _ := os.ReadFile("/proc/" + d.Name() + "/status")
		for line := range strings.Lines(string(status)) {
			if rest, ok := strings.CutPrefix(line, "VmHWM:"); ok {
				kb, _ := strconv.Atoi(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(rest), "kB")))
				most = max(most, float64(kb)/1024)
			}
			if strings.HasPrefix(line, "VmRSS") && testing.Verbose() {
				fmt.Print(d.Name(), " ", line)
			}
		}
	}
	return most
}
