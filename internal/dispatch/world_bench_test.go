package dispatch

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/moby/moby/api/types/swarm"

	"shoal/internal/cluster"
	"shoal/internal/store"
	"shoal/internal/store/storetest"
)

// BenchmarkEndpoint is what one task that comes or goes costs a leader whose nodes are all in one network: the network and the
// mesh's ports as they are then, and what leads there from before. It is worked out once for all nodes.
func BenchmarkEndpoint(b *testing.B) {
	for _, services := range []int{10, 1000, 10000} {
		b.Run(fmt.Sprintf("services=%d", services), func(b *testing.B) {
			s := storetest.New(b)
			storetest.Update(b, s, func(tx *store.Tx) { crowd(tx, services) })
			touched := newTouched()
			touched.restart(s.View())
			c := touched.take()
			w := (&world{}).next(s.View(), s.Index(), &c, touched.published)
			parts := w.network([]string{"net"})
			parts.state(0)
			task := store.Tasks.Get(s.View(), "t000005")
			for b.Loop() {
				b.StopTimer()
				old := task
				now := *task
				now.Status.State = swarm.TaskStateFailed
				if task = &now; old.Status.State == swarm.TaskStateFailed {
					now.Status.State = swarm.TaskStateRunning
				}
				storetest.Update(b, s, func(tx *store.Tx) { store.Tasks.Put(tx, task) })
				b.StartTimer()
				touched.task(old, task)
				c := touched.take()
				w = w.next(s.View(), s.Index(), &c, touched.published)
				new := w.network([]string{"net"})
				if d := new.since(parts, 1, 2); d == nil || len(d.Networks) != 2 || len(d.PortServices) != 1 {
					b.Fatalf("%+v", d)
				}
				parts = new
			}
		})
	}
}

// crowd makes services of ten tasks each, all in one network and with a port in the mesh.
func crowd(tx *store.Tx, services int) {
	n1 := &cluster.Node{DataAddr: netip.MustParseAddr("10.0.0.1"), Number: 1}
	n1.ID = "n1"
	store.Nodes.Put(tx, n1)
	for id, ingress := range map[string]bool{"net": false, "ing": true} {
		n := &cluster.Network{VNI: 4097}
		n.ID, n.Spec.Name, n.Spec.Ingress = id, id, ingress
		store.Networks.Put(tx, n)
	}
	store.Specs.Put(tx, &cluster.Spec{ID: "spec", Task: swarm.TaskSpec{ContainerSpec: &swarm.ContainerSpec{Image: "web:v1"}}})
	for i := range services {
		svc := &cluster.Service{SpecID: "spec"}
		svc.ID = fmt.Sprintf("s%05d", i)
		svc.Spec.Name = svc.ID
		svc.Spec.TaskTemplate.Networks = []swarm.NetworkAttachmentConfig{{Target: "net"}}
		svc.Endpoint.VirtualIPs = []swarm.EndpointVirtualIP{{NetworkID: "net", Addr: nth(10, i)}, {NetworkID: "ing", Addr: nth(11, i)}}
		svc.Endpoint.Ports = []swarm.PortConfig{{TargetPort: 80, PublishedPort: uint32(i + 1), PublishMode: swarm.PortConfigPublishModeIngress}}
		store.Services.Put(tx, svc)
		for slot := range 10 {
			at := i*10 + slot
			t := &cluster.Task{
				ID: fmt.Sprintf("t%06d", at), ServiceID: svc.ID, ServiceName: svc.ID, SpecID: "spec", Slot: slot + 1, NodeID: "n1", DesiredState: swarm.TaskStateRunning,
				Attachments: []cluster.Attachment{{NetworkID: "net", Addresses: []netip.Prefix{nth(12, at)}}, {NetworkID: "ing", Addresses: []netip.Prefix{nth(13, at)}}},
			}
			t.Status.State = swarm.TaskStateRunning
			store.Tasks.Put(tx, t)
		}
	}
}

func nth(net byte, i int) netip.Prefix {
	return netip.PrefixFrom(netip.AddrFrom4([4]byte{net, byte(i >> 16), byte(i >> 8), byte(i)}), 8)
}
