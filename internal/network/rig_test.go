package network

import (
	"bufio"
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/miekg/dns"

	"shoal/internal/network/kernel"
	"shoal/internal/network/plan"
)

// The rig: nodes as network namespaces on one switch, with an outside client at 10.98.0.9.
type rig struct {
	t      testing.TB
	id     string
	client *kernel.Kernel
	memory int64 // Config.TunnelMemory of nodes made from now on
}

type node struct {
	*Network
	t      testing.TB
	ns     string
	addr   netip.Addr
	config Config
}

var rigs atomic.Int32

func newRig(t testing.TB) *rig {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Fatal("this test makes network namespaces: run it as root")
	}
	r := &rig{t: t, id: fmt.Sprintf("shoalt-%d-%d", os.Getpid(), rigs.Add(1))}
	r.space("sw")
	r.sh("ip -n %[1]s-sw link add br0 type bridge && ip -n %[1]s-sw link set br0 up", r.id)
	r.client = r.host("cl", 9)
	return r
}

func (r *rig) sh(format string, args ...any) string {
	r.t.Helper()
	out, err := exec.Command("bash", "-ec", fmt.Sprintf(format, args...)).CombinedOutput()
	if err != nil {
		r.t.Fatalf("%s: %v: %s", fmt.Sprintf(format, args...), err, out)
	}
	return string(out)
}

func (r *rig) space(name string) string {
	full := r.id + "-" + name
	r.sh("ip netns add %s && ip -n %[1]s link set lo up", full)
	r.t.Cleanup(func() { _ = exec.Command("ip", "netns", "del", full).Run() })
	return full
}

// host puts a machine on the switch and returns its kernel.
func (r *rig) host(name string, last int) *kernel.Kernel {
	full := r.space(name)
	r.sh(`ip -n %[1]s link add eth0 type veth peer name p%[2]d netns %[3]s-sw
		ip -n %[3]s-sw link set p%[2]d master br0 up; ip -n %[1]s link set eth0 up
		ip -n %[1]s addr add 10.98.0.%[2]d/24 dev eth0; ip -n %[1]s addr add fd98::%[2]d/64 dev eth0 nodad`, full, last, r.id)
	k, err := kernel.Open(r.t.TempDir(), "/run/netns/"+full)
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(k.Close)
	return k
}

func (r *rig) node(name string, last int) *node {
	r.t.Helper()
	r.host(name, last)
	dir := r.t.TempDir()
	n := &node{t: r.t, ns: r.id + "-" + name, addr: netip.AddrFrom4([4]byte{10, 98, 0, byte(last)}), config: Config{
		NodeName: name, StateDir: filepath.Join(dir, "state"), RunDir: filepath.Join(dir, "run"), DNS: []string{"192.0.2.1"}, TunnelMemory: r.memory,
		Log: slog.New(slog.NewTextHandler(r.t.Output(), &slog.HandlerOptions{Level: slog.LevelDebug})), host: "/run/netns/" + r.id + "-" + name,
	}}
	n.start()
	r.t.Cleanup(func() {
		if err := n.Purge(); err != nil {
			r.t.Errorf("purge of %s: %v", name, err)
		}
	})
	return n
}

func (n *node) start() {
	n.t.Helper()
	network, err := New(n.config)
	if err != nil {
		n.t.Fatal(err)
	}
	n.Network = network
}

// restart is what kill -9 leaves to the next daemon: sockets closed, nothing said.
func (n *node) restart() {
	n.t.Helper()
	if err := n.Network.Close(); err != nil {
		n.t.Fatal(err)
	}
	n.start()
}

func (n *node) attach(r Request) *Sandbox {
	n.t.Helper()
	ctx, cancel := context.WithTimeout(n.t.Context(), time.Minute)
	defer cancel()
	s, err := n.Attach(ctx, r)
	if err != nil {
		n.t.Fatalf("attach %s: %v", r.Name, err)
	}
	return s
}

// in runs do within a container.
func (n *node) in(container string, do func() error) error {
	return n.kernel.In(plan.ContainerNS(container), do)
}

// serve answers every connection in a container with the container's name and the caller's address, TCP and UDP.
func (n *node) serve(container string, port int) {
	n.t.Helper()
	var l net.Listener
	var p net.PacketConn
	err := n.in(container, func() (err error) {
		if l, err = net.Listen("tcp", fmt.Sprintf(":%d", port)); err != nil {
			return err
		}
		p, err = net.ListenPacket("udp", fmt.Sprintf(":%d", port))
		return err
	})
	if err != nil {
		n.t.Fatal(err)
	}
	n.t.Cleanup(func() { l.Close(); p.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			fmt.Fprintf(c, "%s %s\n", container[:2], host(c.RemoteAddr()))
			go func() { _, _ = bufio.NewReader(c).ReadString('\n'); c.Close() }()
		}
	}()
	go func() {
		buf := make([]byte, 16)
		for {
			_, from, err := p.ReadFrom(buf)
			if err != nil {
				return
			}
			_, _ = p.WriteTo([]byte(fmt.Sprintf("%s %s\n", container[:2], host(from))), from)
		}
	}()
}

func host(a net.Addr) string {
	h, _, _ := net.SplitHostPort(a.String())
	return h
}

// call is one connection; it returns what the server said.
func call(network, address string) (said string, err error) {
	c, err := net.DialTimeout(network, address, 2*time.Second)
	if err != nil {
		return "", err
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(2 * time.Second))
	if strings.HasPrefix(network, "udp") {
		if _, err := c.Write([]byte("?")); err != nil {
			return "", err
		}
	}
	line, err := bufio.NewReader(c).ReadString('\n')
	return strings.TrimSpace(line), err
}

// from makes count calls with in and returns how often each answer came.
func (r *rig) from(in func(func() error) error, count int, network, address string) map[string]int {
	r.t.Helper()
	seen := map[string]int{}
	_ = in(func() error {
		for range count {
			said, err := call(network, address)
			if err != nil {
				said = err.Error()
			}
			seen[said]++
		}
		return nil
	})
	return seen
}

func (r *rig) outside(do func() error) error { return r.client.In(plan.HostNS, do) }

func (n *node) onHost(do func() error) error { return n.kernel.In(plan.HostNS, do) }

func (n *node) inside(container string) func(func() error) error {
	return func(do func() error) error { return n.in(container, do) }
}

// lookup asks 127.0.0.11 from within a container.
func (n *node) resolve(container, network, name string, kind uint16) (out []string, code int) {
	n.t.Helper()
	err := n.in(container, func() error {
		c, err := net.Dial(network, "127.0.0.11:53")
		if err != nil {
			return err
		}
		conn := &dns.Conn{Conn: c}
		defer conn.Close()
		_ = conn.SetDeadline(time.Now().Add(5 * time.Second))
		if err := conn.WriteMsg(new(dns.Msg).SetQuestion(dns.Fqdn(name), kind)); err != nil {
			return err
		}
		reply, err := conn.ReadMsg()
		if err != nil {
			return err
		}
		code = reply.Rcode
		for _, rr := range reply.Answer {
			switch rr := rr.(type) {
			case *dns.A:
				out = append(out, rr.A.String())
			case *dns.AAAA:
				out = append(out, rr.AAAA.String())
			case *dns.PTR:
				out = append(out, rr.Ptr)
			}
		}
		return nil
	})
	if err != nil {
		n.t.Errorf("%s asked for %s: %v", container[:2], name, err)
	}
	return out, code
}

// dump is all that a namespace's kernel tells, without counters and ages.
func (r *rig) dump(ns string) string {
	return r.sh(`n=%s; ip -n $n -o link | sed 's/@[^:]*//; s/qdisc [a-z]*//'; { ip -n $n -o addr; ip -n $n route show table all; } | grep -v fe80; ip -n $n rule; ip -n $n -6 rule
		nsenter --net=/run/netns/$n nft -s list ruleset; nsenter --net=/run/netns/$n sysctl net.ipv4.conf.all.rp_filter`, ns)
}

// serveOutside answers on the client's machine.
func (r *rig) serveOutside() string {
	r.t.Helper()
	var l net.Listener
	if err := r.outside(func() (err error) { l, err = net.Listen("tcp", "10.98.0.9:8000"); return err }); err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			fmt.Fprintf(c, "out %s\n", host(c.RemoteAddr()))
			c.Close()
		}
	}()
	return "10.98.0.9:8000"
}

// ping sends one ICMP echo and waits for its reply.
func ping(to string) error {
	c, err := net.Dial("ip4:icmp", to)
	if err != nil {
		return err
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(time.Second))
	echo := []byte{8, 0, 0, 0, 0, 1, 0, 1}
	sum := ^uint16(0x0800 + 1 + 1)
	echo[2], echo[3] = byte(sum>>8), byte(sum)
	if _, err := c.Write(echo); err != nil {
		return err
	}
	buf := make([]byte, 64)
	n, err := c.Read(buf)
	if err == nil && (n < 28 || buf[20] != 0) { // behind the IP header
		err = fmt.Errorf("no echo reply: % x", buf[:n])
	}
	return err
}

// exact checks that the kernel, read afresh, holds what the network believes and nothing else.
func (n *node) exact() {
	n.t.Helper()
	have, want := plan.Kernel{}, n.have
	for ns, w := range want {
		h, err := n.kernel.Read(ns, n.Network.config.Prefix, w.Sysctls)
		if err != nil {
			n.t.Fatal(err)
		}
		have[ns] = h
	}
	for _, op := range plan.Diff(have, want) {
		n.t.Errorf("%s: the kernel differs: %s", n.config.NodeName, op)
	}
}
