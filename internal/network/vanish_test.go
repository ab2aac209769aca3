package network

import (
	"encoding/binary"
	"net/netip"
	"strings"
	"testing"

	"github.com/moby/moby/api/types/swarm"

	"shoal/internal/cluster"
	"shoal/internal/network/plan"
)

// A packet that chose among two backends in the moment in which one of them goes is not refused: the other one takes it.
func TestABackendGoesUnderAPacket(t *testing.T) {
	r, s := both(t)
	a := s.nodes[0]
	s.task(0, "w1", "web", at("net", "10.0.9.5/24"), at("ingress", "10.0.0.5/24"))
	s.task(1, "w2", "web", at("net", "10.0.9.6/24"), at("ingress", "10.0.0.6/24"))
	s.task(0, "x1", "rr", at("net", "10.0.9.8/24"))
	s.state.Ports = []cluster.Port{{
		ServiceID: "web", Config: swarm.PortConfig{TargetPort: 80, PublishedPort: 8080}, Backends: []netip.Addr{addr("10.0.0.5"), addr("10.0.0.6")},
	}}
	s.set(t)
	second := string(binary.NativeEndian.AppendUint32(nil, 1))
	var ops []plan.Op
	for name, ns := range a.have {
		for id, table := range ns.Tables {
			if set := table.Sets["tasks"]; set != nil {
				for key, value := range set.Elements {
					if strings.HasSuffix(key, second) {
						ops = append(ops, plan.Op{NS: name, Delete: true, Item: plan.Element{Table: id, Name: "tasks", Set: set, Key: key, Value: value}})
					}
				}
			}
		}
	}
	if len(ops) != 2 {
		t.Fatalf("%d second backends in the tables, want one of the VIP and one of the port", len(ops))
	}
	if err := a.kernel.Apply(t.Context(), ops); err != nil { // as when the packet is in the chain of two already
		t.Fatal(err)
	}
	spread(t, "through the mesh", r.from(r.outside, 30, "tcp", "10.98.0.11:8080"), "w1 10.98.0.9")
	spread(t, "VIP", r.from(a.inside(id("x1")), 30, "tcp", "10.0.9.2:80"), "w1 10.0.9.8")
}
