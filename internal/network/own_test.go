package network

import (
	"log/slog"
	"net"
	"testing"

	"github.com/moby/moby/api/types/swarm"

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
