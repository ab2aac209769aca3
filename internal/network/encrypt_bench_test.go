package network

import (
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// BenchmarkEncrypted sends one TCP stream between tasks on two nodes through a plain and an encrypted network in turn, and
// gives the ratio of the medians, the peak memory of a device's process and the processor time that both of them took for a
// gigabit. Three seconds a round: -benchtime 5x is five rounds of each.
func BenchmarkEncrypted(b *testing.B) {
	for _, memory := range []int64{384, 128} {
		b.Run(fmt.Sprintf("memory=%dMiB", memory), func(b *testing.B) {
			r := newRig(b)
			r.memory = memory << 20
			s := secretOn(b, r)
			s.pair(b)
			sink(b, s.nodes[1])
			var plain, encrypted []float64
			for range b.N {
				plain = append(plain, throughput(b, s.nodes[0], "10.0.8.6:90"))
				encrypted = append(encrypted, throughput(b, s.nodes[0], "10.0.9.6:90"))
			}
			total := 0.0
			for _, e := range encrypted {
				total += e * roundTime.Seconds() / 1e9
			}
			slices.Sort(plain)
			slices.Sort(encrypted)
			p, e := plain[len(plain)/2], encrypted[len(encrypted)/2]
			peak, ticks := devices(b)
			b.ReportMetric(p/1e9, "plain_Gbit/s")
			b.ReportMetric(e/1e9, "encrypted_Gbit/s")
			b.ReportMetric(e/p, "encrypted/plain")
			b.ReportMetric(peak, "MB_peak_of_a_device")
			b.ReportMetric(ticks/total, "cpu-s/Gbit_of_both_devices")
			b.ReportMetric(0, "ns/op")
		})
	}
}

const roundTime = 3 * time.Second

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
			go func() { _, _ = io.Copy(io.Discard, struct{ io.Reader }{c}); c.Close() }()
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
	for time.Since(begin) < roundTime {
		k, err := c.Write(block)
		if err != nil {
			tb.Fatal(err)
		}
		size += k
	}
	return float64(size) * 8 / time.Since(begin).Seconds()
}

// devices are the peak memory, in MB, of the largest of the devices' processes, and the processor seconds of all.
func devices(tb testing.TB) (peak, seconds float64) {
	for _, pid := range deviceProcesses(tb) {
		status, _ := os.ReadFile("/proc/" + pid + "/status")
		for line := range strings.Lines(string(status)) {
			if rest, ok := strings.CutPrefix(line, "VmHWM:"); ok {
				kb, _ := strconv.Atoi(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(rest), "kB")))
				peak = max(peak, float64(kb)/1024)
			}
		}
		stat, _ := os.ReadFile("/proc/" + pid + "/stat")
		_, after, _ := strings.Cut(string(stat), ") ")
		if f := strings.Fields(after); len(f) > 12 {
			user, _ := strconv.Atoi(f[11])
			system, _ := strconv.Atoi(f[12])
			seconds += float64(user+system) / 100 // the kernel's ticks
		}
	}
	return peak, seconds
}
