package network

import (
	"log/slog"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/moby/moby/api/types/swarm"
	"golang.org/x/sys/unix"

	"shoal/internal/cluster"
)

// TestPortOfTheNode: a port that a process of the node listens on is not the mesh's here, until the mesh has it anew.
func TestPortOfTheNode(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	own := uint32(l.Addr().(*net.TCPAddr).Port)
	n := &Network{config: Config{Log: slog.New(slog.DiscardHandler)}}
	see := func(ports ...uint32) (mesh []uint32) {
		var list []cluster.Port
		for _, p := range ports {
			list = append(list, cluster.Port{ServiceID: "s", Config: swarm.PortConfig{PublishedPort: p}})
		}
		n.yieldPorts(list)
		n.state.Ports = list
		for _, p := range n.meshPorts() {
			mesh = append(mesh, p.Config.PublishedPort)
		}
		return mesh
	}
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	other := uint32(free.Addr().(*net.TCPAddr).Port)
	if err := free.Close(); err != nil {
		t.Fatal(err)
	}
	if got := see(own, other); len(got) != 1 || got[0] != other {
		t.Errorf("the mesh has %v, want %d alone", got, other)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if got := see(own, other); len(got) != 1 {
		t.Errorf("decided once, decided anew: %v", got)
	}
	see(other)
	if got := see(own, other); len(got) != 2 {
		t.Errorf("published anew after the process had ended: %v", got)
	}
}

// TestLateListener: a process of root that comes to listen on a port of the mesh, as sshd does that starts after the daemon,
// gets its port back; anybody else's does not, nor one on an address that the port is not bound to.
func TestLateListener(t *testing.T) {
	r := newRig(t)
	a := r.node("a", 11)
	s := newStory(a)
	s.network(cluster.NetworkLink{ID: "ingress", VNI: 4096, Ingress: true, Subnets: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/24")}, Gateways: []netip.Addr{addr("10.0.0.1")}})
	s.set(t)
	place := cluster.Attachment{NetworkID: "ingress", Addresses: []netip.Prefix{netip.MustParsePrefix("10.0.0.5/24")}}
	s.task(0, "w1", "web", place)
	port := func(published uint32, bind cluster.Bind) cluster.Port {
		return cluster.Port{ServiceID: "web", Config: swarm.PortConfig{TargetPort: 80, PublishedPort: published}, Bind: bind, Backends: []netip.Addr{addr("10.0.0.5")}}
	}
	elsewhere := cluster.Bind{Prefixes: []netip.Prefix{netip.MustParsePrefix("10.98.0.11/32")}}
	s.state.Ports = []cluster.Port{port(22, cluster.Bind{}), port(23, cluster.Bind{}), port(24, elsewhere), port(25, elsewhere)}
	s.set(t)

	listen := func(uid int, address string) {
		t.Helper()
		if err := a.onHost(func() error {
			// The thread's own file system user is what the kernel notes as a socket's owner.
			if err := unix.Setfsuid(uid); err != nil {
				return err
			}
			l, err := net.Listen("tcp", address)
			if err != nil {
				return err
			}
			t.Cleanup(func() { _ = l.Close() })
			go func() {
				for {
					c, err := l.Accept()
					if err != nil {
						return
					}
					_, _ = c.Write([]byte("own\n"))
					_ = c.Close()
				}
			}()
			return unix.Setfsuid(0)
		}); err != nil {
			t.Fatal(err)
		}
	}
	answer := func(port string) string {
		t.Helper()
		buf := make([]byte, 4)
		if err := r.outside(func() error {
			c, err := net.DialTimeout("tcp", "10.98.0.11:"+port, 2*time.Second)
			if err != nil {
				return err
			}
			defer c.Close()
			_ = c.SetDeadline(time.Now().Add(2 * time.Second))
			_, err = c.Read(buf)
			return err
		}); err != nil {
			t.Fatal(port, err)
		}
		return string(buf)
	}
	listen(0, ":22")
	listen(65534, ":23")
	listen(0, "127.0.0.1:24")
	listen(0, "10.98.0.11:25")
	if err := a.enter(t.Context()); err != nil {
		t.Fatal(err)
	}
	err := a.yieldLate(t.Context())
	a.leave()
	if err != nil {
		t.Fatal(err)
	}
	for port, own := range map[string]bool{"22": true, "23": false, "24": false, "25": true} {
		if got := answer(port) == "own\n"; got != own {
			t.Errorf("port %s: the node's own process answers: %v, want %v", port, got, own)
		}
	}
	a.exact()
}
