package network

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"shoal/internal/cluster"
	"shoal/internal/network/plan"
	"shoal/internal/network/tunnel"
)

// TestMain lets the test's own binary be the process of a tunnel device.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == tunnel.Word {
		os.Exit(tunnel.Main(os.Args[2:]))
	}
	os.Exit(m.Run())
}

// secret is a story with an encrypted network "safe" beside a plain one.
func secret(t testing.TB) (*rig, *story) {
	r := newRig(t)
	return r, secretOn(t, r)
}

func secretOn(t testing.TB, r *rig) *story {
	s := newStory(r.node("a", 11), r.node("b", 12))
	s.network(cluster.NetworkLink{
		ID: "safe", VNI: 4097, Encrypted: true, Rings: []cluster.Ring{{Generation: 1}}, Sends: 1,
		Subnets: []netip.Prefix{netip.MustParsePrefix("10.0.9.0/24"), netip.MustParsePrefix("fd09::/64")}, Gateways: []netip.Addr{addr("10.0.9.1"), addr("fd09::1")},
		Services: []cluster.VIP{{ServiceID: "web", Name: "web", Addresses: []netip.Addr{addr("10.0.9.2"), addr("fd09::2")}}},
	})
	s.network(cluster.NetworkLink{ID: "open", VNI: 4098, Subnets: []netip.Prefix{netip.MustParsePrefix("10.0.8.0/24")}, Gateways: []netip.Addr{addr("10.0.8.1")}})
	s.set(t)
	return s
}

// exchange does the managers' part: every node's keys become known to all.
func (s *story) exchange(t testing.TB) {
	t.Helper()
	for i := range s.state.Networks {
		l := &s.state.Networks[i]
		rings := slices.Clone(l.Rings)
		for j := range rings {
			rings[j].Keys = nil
			for k, n := range s.nodes {
				for _, key := range n.Keys() {
					if key.NetworkID == l.ID && key.Generation == rings[j].Generation {
						rings[j].Keys = append(rings[j].Keys, cluster.NodeKey{NodeID: s.state.Nodes[k].ID, Public: key.Public, Port: key.Port})
					}
				}
			}
		}
		l.Rings = rings
	}
	s.set(t)
}

func dual(network, v4, v6 string) cluster.Attachment {
	return cluster.Attachment{NetworkID: network, Addresses: []netip.Prefix{netip.MustParsePrefix(v4), netip.MustParsePrefix(v6)}}
}

func (s *story) pair(t testing.TB) {
	s.task(0, "a1", "web", dual("safe", "10.0.9.5/24", "fd09::5/64"), at("open", "10.0.8.5/24"))
	s.task(1, "b1", "web", dual("safe", "10.0.9.6/24", "fd09::6/64"), at("open", "10.0.8.6/24"))
	s.exchange(t)
}

func TestEncrypted(t *testing.T) {
	r, s := secret(t)
	a, b := s.nodes[0], s.nodes[1]
	before := r.dump(a.ns)
	s.pair(t)
	spread(t, "direct", r.from(a.inside(id("a1")), 5, "tcp", "10.0.9.6:80"), "b1 10.0.9.5")
	spread(t, "direct, IPv6", r.from(a.inside(id("a1")), 5, "tcp", "[fd09::6]:80"), "b1 fd09::5")
	for _, vip := range []string{"10.0.9.2:80", "[fd09::2]:80"} {
		got := r.from(b.inside(id("b1")), 30, "tcp", vip)
		if len(got) != 2 {
			t.Errorf("VIP %s: %v", vip, got)
		}
	}
	spread(t, "plain beside it", r.from(a.inside(id("a1")), 5, "tcp", "10.0.8.6:80"), "b1 10.0.8.5")
	a.exact()
	b.exact()

	// Packets of full size: one that the tunnel made larger than the underlay takes would be cut in two, and mostly lost.
	sink(t, b)
	if err := a.in(id("a1"), func() error {
		c, err := net.Dial("tcp", "10.0.9.6:90")
		if err != nil {
			return err
		}
		defer c.Close()
		_ = c.SetDeadline(time.Now().Add(20 * time.Second))
		if _, err = c.Write(make([]byte, 32<<20)); err != nil {
			return err
		}
		_ = c.(*net.TCPConn).CloseWrite()
		_, err = io.ReadAll(c) // ends when all has come: what is still on its way would fill the tap below
		return err
	}); err != nil {
		t.Errorf("full packets: %v", err)
	}

	clear := func(to string) bool { return r.inClear(t, a, to) }
	if !clear("10.0.8.6:80") {
		t.Error("the plain network's payload is not seen: this test sees nothing")
	}
	if clear("10.0.9.6:80") {
		t.Error("the encrypted network's payload is on the wire")
	}

	l := s.link("safe")
	l.Endpoints = nil
	l.Services = nil
	s.link("open").Endpoints = nil
	for i, short := range []string{"a1", "b1"} {
		if err := s.nodes[i].Detach(t.Context(), id(short)); err != nil {
			t.Fatal(err)
		}
	}
	s.set(t)
	if after := r.dump(a.ns); withoutAnycast(after) != withoutAnycast(before) {
		t.Errorf("left over:\n%s\nwas:\n%s", after, before)
	}
	if keys := a.Keys(); len(keys) != 0 {
		t.Errorf("keys of a network that is gone: %v", keys)
	}
	if left := processes(t); len(left) > 0 {
		t.Errorf("processes left over: %v", left)
	}
}

// withoutAnycast leaves out what the kernel adds when a node begins to forward IPv6.
func withoutAnycast(dump string) string {
	return strings.Join(slices.DeleteFunc(strings.Split(dump, "\n"), func(line string) bool { return strings.HasPrefix(line, "anycast") }), "\n")
}

// processes are those of tunnel devices that this test made and that have not ended in a second.
func processes(t testing.TB) (list []string) {
	deadline := time.After(2 * time.Second)
	for {
		list = deviceProcesses(t)
		select {
		case <-deadline:
			return list
		case <-time.After(20 * time.Millisecond):
			if len(list) == 0 {
				return nil
			}
		}
	}
}

// deviceProcesses are those of tunnel devices that this test's binary is running.
func deviceProcesses(t testing.TB) (list []string) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dirs, err := os.ReadDir("/proc")
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range dirs {
		args, _ := os.ReadFile("/proc/" + d.Name() + "/cmdline")
		if own, _ := os.Readlink("/proc/" + d.Name() + "/exe"); own == self && bytes.Contains(args, []byte(tunnel.Word)) {
			list = append(list, d.Name())
		}
	}
	return list
}

// inClear sends a marker from a1 to a server and says whether it was seen on the node's uplink.
func (r *rig) inClear(t *testing.T, n *node, to string) bool {
	t.Helper()
	marker := []byte(fmt.Sprintf("marker-%d-%s", time.Now().UnixNano(), to))
	var tap int
	if err := n.onHost(func() (err error) {
		tap, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, int(htons(unix.ETH_P_ALL)))
		if err != nil {
			return err
		}
		link, err := net.InterfaceByName("eth0")
		if err != nil {
			return err
		}
		return unix.Bind(tap, &unix.SockaddrLinklayer{Protocol: htons(unix.ETH_P_ALL), Ifindex: link.Index})
	}); err != nil {
		t.Fatal(err)
	}
	defer unix.Close(tap)
	if err := unix.SetNonblock(tap, true); err != nil {
		t.Fatal(err)
	}
	if err := n.in(id("a1"), func() error {
		c, err := net.DialTimeout("tcp", to, 2*time.Second)
		if err != nil {
			return err
		}
		defer c.Close()
		if _, err := c.Write(append(marker, '\n')); err != nil {
			return err
		}
		_ = c.SetReadDeadline(time.Now().Add(2 * time.Second))
		_, _ = io.ReadAll(c) // the server ends after the line
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	seen, frames := false, 0
	buf := make([]byte, 1<<16)
	for {
		size, err := unix.Read(tap, buf)
		if err != nil {
			break
		}
		frames++
		seen = seen || bytes.Contains(buf[:size], marker)
	}
	if frames == 0 {
		t.Errorf("no frame at all on the way to %s", to)
	}
	return seen
}

func htons(v uint16) uint16 { return v<<8 | v>>8 }

// TestEncryptedRestart: a new daemon finds the devices as they were, and no packet is lost meanwhile. A device whose
// process dies comes back with another key.
func TestEncryptedRestart(t *testing.T) {
	r, s := secret(t)
	a, b := s.nodes[0], s.nodes[1]
	s.pair(t)
	spread(t, "before", r.from(a.inside(id("a1")), 1, "tcp", "10.0.9.6:80"), "b1 10.0.9.5") // and a session is there
	keys := a.Keys()
	lost := r.stream(t, a, "10.0.9.6:80", func() {
		for range 3 {
			a.restart()
		}
	})
	if lost != 0 {
		t.Errorf("%d packets lost over restarts of the daemon", lost)
	}
	if now := a.Keys(); !slices.Equal(now, keys) || len(now) != 1 {
		t.Errorf("keys after a restart: %v, before: %v", now, keys)
	}
	a.exact()

	moved := a.KeysMoved()
	for _, pid := range processes(t) {
		if args, _ := os.ReadFile("/proc/" + pid + "/cmdline"); bytes.Contains(args, []byte("n-1001")) {
			r.sh("kill -9 %s", pid)
			break
		}
	}
	which := a
	select {
	case <-moved:
	case <-b.KeysMoved():
		which = b
	case <-time.After(5 * time.Second):
		t.Fatal("a device whose process was killed is not made anew")
	}
	s.exchange(t)
	spread(t, "after "+which.config.NodeName+" lost a device", r.from(a.inside(id("a1")), 5, "tcp", "10.0.9.6:80"), "b1 10.0.9.5")
}

// TestEncryptedRotation changes the keys as the managers do, under traffic, without losing a packet.
func TestEncryptedRotation(t *testing.T) {
	r, s := secret(t)
	a := s.nodes[0]
	s.pair(t)
	spread(t, "before", r.from(a.inside(id("a1")), 1, "tcp", "10.0.9.6:80"), "b1 10.0.9.5") // and a session is there
	l := s.link("safe")
	lost := r.stream(t, a, "10.0.9.6:80", func() {
		for generation := uint64(2); generation < 4; generation++ {
			l.Rings = append(slices.Clone(l.Rings), cluster.Ring{Generation: generation})
			s.set(t)
			s.exchange(t)
			<-time.After(3 * time.Second) // handshakes; the managers wait longer
			l.Sends = generation
			s.set(t)
			<-time.After(100 * time.Millisecond)
			l.Rings = slices.Clone(l.Rings)[1:]
			s.set(t)
		}
	})
	if lost != 0 {
		t.Errorf("%d packets lost over two changes of the keys", lost)
	}
	if keys := a.Keys(); len(keys) != 1 || keys[0].Generation != 3 {
		t.Errorf("keys: %v", keys)
	}
	a.exact()
}

// stream sends packets from a1, one each four milliseconds, while do runs, and returns how many did not come back.
func (r *rig) stream(t *testing.T, n *node, to string, do func()) (lost int) {
	t.Helper()
	var c net.Conn
	if err := n.in(id("a1"), func() (err error) { c, err = net.Dial("udp", to); return err }); err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	ctx, cancel := context.WithCancel(t.Context())
	sent := make(chan int)
	go func() {
		ticker := time.NewTicker(4 * time.Millisecond)
		defer ticker.Stop()
		count := 0
		for ctx.Err() == nil {
			<-ticker.C
			if _, err := c.Write([]byte("?")); err == nil {
				count++
			}
		}
		sent <- count
	}()
	got := make(chan int)
	go func() {
		buf := make([]byte, 64)
		count := 0
		for {
			if _, err := c.Read(buf); err != nil {
				break
			}
			count++
		}
		got <- count
	}()
	do()
	cancel()
	count := <-sent
	_ = c.SetReadDeadline(time.Now().Add(500 * time.Millisecond))
	back := <-got
	t.Logf("%d sent, %d came back", count, back)
	return count - back
}

// TestEncryptedPeers: what a node sends in another's name is dropped.
func TestEncryptedPeers(t *testing.T) {
	r, s := secret(t)
	a := s.nodes[0]
	s.pair(t)
	// b's container takes an address that is not its own; a knows 10.0.9.7 as nobody's.
	r.sh("nsenter --net=%s ip addr add 10.0.9.7/32 dev eth0", s.nodes[1].kernel.Path(plan.ContainerNS(id("b1"))))
	err := s.nodes[1].in(id("b1"), func() error {
		d := net.Dialer{Timeout: time.Second, LocalAddr: &net.TCPAddr{IP: net.IPv4(10, 0, 9, 7)}}
		c, err := d.Dial("tcp", "10.0.9.5:80")
		if err == nil {
			c.Close()
		}
		return err
	})
	if err == nil || !strings.Contains(err.Error(), "timeout") {
		t.Errorf("a packet in the name of an address that its node has not: %v", err)
	}
	a.exact()
}
