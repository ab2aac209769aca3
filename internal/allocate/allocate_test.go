package allocate

import (
	"errors"
	"fmt"
	"iter"
	"net/netip"
	"slices"
	"testing"

	"github.com/containerd/errdefs"
	"github.com/google/go-cmp/cmp"
	"github.com/moby/moby/api/types/network"
	"github.com/moby/moby/api/types/swarm"
	"pgregory.net/rapid"

	"shoal/internal/cluster"
)

func none[T any]() iter.Seq[*T] { return slices.Values([]*T(nil)) }

func empty() *State {
	return New(Config{}, none[cluster.Network](), none[cluster.Service](), none[cluster.Task]())
}

func overlayNet(id string, subnets ...string) *cluster.Network {
	n := &cluster.Network{}
	n.ID, n.Spec.Name = id, id
	if len(subnets) > 0 {
		n.Spec.IPAMOptions = &swarm.IPAMOptions{}
	}
	for _, s := range subnets {
		n.Spec.IPAMOptions.Configs = append(n.Spec.IPAMOptions.Configs, swarm.IPAMConfig{Subnet: netip.MustParsePrefix(s)})
	}
	return n
}

func web(id string, ports ...swarm.PortConfig) *cluster.Service {
	s := &cluster.Service{}
	s.ID, s.Spec.Name = id, id
	s.Spec.EndpointSpec = &swarm.EndpointSpec{Ports: ports}
	return s
}

func on(s *cluster.Service, networks ...string) *cluster.Service {
	for _, n := range networks {
		s.Spec.TaskTemplate.Networks = append(s.Spec.TaskTemplate.Networks, swarm.NetworkAttachmentConfig{Target: n, Aliases: []string{"al"}})
	}
	return s
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func addressOf(t testing.TB, s *State, networkID string) string {
	t.Helper()
	a, err := s.Attach(networkID, netip.Addr{}, nil)
	must(t, err)
	return fmt.Sprint(a.Addresses)
}

func TestNetworks(t *testing.T) {
	s := empty()
	ingress := overlayNet("ingress")
	ingress.Spec.Ingress = true
	six := overlayNet("six")
	six.Spec.IPv6Enabled = true
	var got []string
	for _, n := range []*cluster.Network{ingress, overlayNet("one"), overlayNet("mine", "10.0.2.0/23"), overlayNet("two"), six} {
		must(t, s.Network(n))
		line := fmt.Sprintf("%s %d", n.ID, n.VNI)
		for _, c := range n.IPAMOptions.Configs {
			line += fmt.Sprintf(" %s %s", c.Subnet, c.Gateway)
		}
		got = append(got, line)
	}
	want := []string{
		"ingress 4097 10.0.0.0/24 10.0.0.1", "one 4098 10.0.1.0/24 10.0.1.1", "mine 4099 10.0.2.0/23 10.0.2.1", "two 4100 10.0.4.0/24 10.0.4.1",
		"six 4101 10.0.5.0/24 10.0.5.1 fd53:686f:616c::/64 fd53:686f:616c::1",
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	err := s.Network(overlayNet("bad", "10.0.3.0/25"))
	if err == nil || err.Error() != "invalid pool request: Pool overlaps with other one on this address space" || !errors.Is(err, errdefs.ErrInvalidArgument) {
		t.Errorf("overlap: %v", err)
	}
	s.ReleaseNetwork(ingress)
	again := overlayNet("again")
	must(t, s.Network(again))
	if again.VNI != 4097 || again.IPAMOptions.Configs[0].Subnet.String() != "10.0.0.0/24" {
		t.Errorf("not the lowest free: %d %v", again.VNI, again.IPAMOptions.Configs)
	}
}

func TestPoolsRunOut(t *testing.T) {
	s := New(Config{Pools: []netip.Prefix{netip.MustParsePrefix("10.9.0.0/23")}, SubnetSize: 24}, none[cluster.Network](), none[cluster.Service](), none[cluster.Task]())
	must(t, s.Network(overlayNet("a")))
	must(t, s.Network(overlayNet("b")))
	if err := s.Network(overlayNet("c")); !errors.Is(err, errdefs.ErrResourceExhausted) {
		t.Errorf("third network: %v", err)
	}
}

func TestAddresses(t *testing.T) {
	s := empty()
	n := overlayNet("small", "192.168.1.0/29")
	n.Aux = map[string]netip.Addr{"printer": netip.MustParseAddr("192.168.1.3")}
	must(t, s.Network(n))
	if d := cmp.Diff([]string{"[192.168.1.2/29]", "[192.168.1.4/29]"}, []string{addressOf(t, s, "small"), addressOf(t, s, "small")}); d != "" {
		t.Error(d)
	}
	held := cluster.Attachment{NetworkID: "small", Addresses: []netip.Prefix{netip.MustParsePrefix("192.168.1.2/29")}}
	s.ReleaseTask(&cluster.Task{Attachments: []cluster.Attachment{held}})
	got := []string{addressOf(t, s, "small"), addressOf(t, s, "small"), addressOf(t, s, "small")}
	if d := cmp.Diff([]string{"[192.168.1.5/29]", "[192.168.1.6/29]", "[192.168.1.2/29]"}, got); d != "" {
		t.Errorf("a freed address must rest while there is room: %s", d)
	}
	_, err := s.Attach("small", netip.Addr{}, nil)
	if !errors.Is(err, errdefs.ErrResourceExhausted) {
		t.Errorf("full network: %v", err)
	}
	_, err = s.Attach("small", netip.MustParseAddr("192.168.1.4"), nil)
	if err == nil || err.Error() != "Address already in use" {
		t.Errorf("address of another: %v", err)
	}
}

func TestRange(t *testing.T) {
	s := empty()
	n := overlayNet("ranged", "172.20.0.0/16")
	n.Spec.IPAMOptions.Configs[0].Range = netip.MustParsePrefix("172.20.5.0/30")
	n.Spec.IPAMOptions.Configs[0].Gateway = netip.MustParseAddr("172.20.5.1")
	must(t, s.Network(n))
	if d := cmp.Diff([]string{"[172.20.5.0/16]", "[172.20.5.2/16]"}, []string{addressOf(t, s, "ranged"), addressOf(t, s, "ranged")}); d != "" {
		t.Error(d)
	}
}

func TestServicePorts(t *testing.T) {
	s := empty()
	ingress := overlayNet("ingress")
	ingress.Spec.Ingress = true
	must(t, s.Network(ingress))
	p8080 := swarm.PortConfig{Protocol: network.TCP, TargetPort: 80, PublishedPort: 8080, PublishMode: swarm.PortConfigPublishModeIngress}
	a := web("web", p8080)
	_, err := s.Service(a)
	must(t, err)
	if d := cmp.Diff("10.0.0.2/24", a.Endpoint.VirtualIPs[0].Addr.String()); d != "" {
		t.Error(d)
	}
	b := web("b", p8080)
	_, err = s.Service(b)
	if err == nil || err.Error() != "port '8080' is already in use by service 'web' (web) as an ingress port" || !errors.Is(err, errdefs.ErrInvalidArgument) {
		t.Errorf("taken port: %v", err)
	}
	host := p8080
	host.PublishMode = swarm.PortConfigPublishModeHost
	if err := s.CheckPorts("b", []swarm.PortConfig{host}); err == nil {
		t.Error("a host port may not be another's ingress port")
	}
	open := p8080
	open.PublishedPort = 0
	_, err = s.Service(web("c", open, open))
	must(t, err)
	got := s.services["c"].Endpoint.Ports
	if got[0].PublishedPort != 30000 || got[1].PublishedPort != 30001 {
		t.Errorf("dynamic ports %v", got)
	}
	kept := *s.services["c"]
	kept.Spec.EndpointSpec = &swarm.EndpointSpec{Ports: []swarm.PortConfig{open}}
	changed, err := s.Service(&kept)
	must(t, err)
	if !changed || kept.Endpoint.Ports[0].PublishedPort != 30000 {
		t.Errorf("port not kept: %v", kept.Endpoint.Ports)
	}
	if changed, _ := s.Service(&kept); changed {
		t.Error("the second time nothing changes")
	}
	s.ReleaseService(a)
	if _, err := s.Service(b); err != nil {
		t.Errorf("port not free after its service: %v", err)
	}
}

func TestTask(t *testing.T) {
	s := empty()
	ingress := overlayNet("ingress")
	ingress.Spec.Ingress = true
	must(t, s.Network(ingress))
	must(t, s.Network(overlayNet("net")))
	bridge := overlayNet("bridge")
	bridge.Spec.Labels = map[string]string{cluster.PredefinedLabel: "bridge"}
	s.AddNetwork(bridge)
	svc := on(web("web", swarm.PortConfig{TargetPort: 80, PublishedPort: 8080, PublishMode: swarm.PortConfigPublishModeIngress}), "net", "bridge")
	_, err := s.Service(svc)
	must(t, err)
	spec := &cluster.Spec{Task: svc.Spec.TaskTemplate}
	task := &cluster.Task{ID: "t"}
	must(t, s.Task(task, svc, spec))
	var got []string
	for _, a := range task.Attachments {
		got = append(got, fmt.Sprint(a.NetworkID, a.Addresses, a.Aliases))
	}
	if d := cmp.Diff([]string{"ingress[10.0.0.3/24] []", "net[10.0.1.3/24] [al]", "bridge[] [al]"}, got); d != "" {
		t.Error(d)
	}
}

// No address has two owners, none is the gateway, and a state built anew from what is stored gives out none that is held.
func TestNoAddressTwice(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		subnet := rapid.SampledFrom([]string{"10.1.0.0/28", "10.1.0.0/24", "fd00:1::/64"}).Draw(t, "subnet")
		s := empty()
		n := overlayNet("net", subnet)
		if err := s.Network(n); err != nil {
			t.Fatal(err)
		}
		spec := &cluster.Spec{}
		spec.Task.Networks = []swarm.NetworkAttachmentConfig{{Target: "net"}}
		held := map[netip.Addr]*cluster.Task{}
		var tasks []*cluster.Task
		for k := range rapid.IntRange(1, 60).Draw(t, "events") {
			switch event := rapid.IntRange(0, 5).Draw(t, "event"); {
			case event == 0 && len(tasks) > 0:
				i := rapid.IntRange(0, len(tasks)-1).Draw(t, "gone")
				s.ReleaseTask(tasks[i])
				for _, p := range tasks[i].Attachments[0].Addresses {
					delete(held, p.Addr())
				}
				tasks = slices.Delete(tasks, i, i+1)
			case event == 1:
				s = New(Config{}, slices.Values([]*cluster.Network{n}), none[cluster.Service](), slices.Values(tasks))
			default:
				task := &cluster.Task{ID: fmt.Sprint(k)}
				if err := s.Task(task, nil, spec); err != nil {
					if subnet == "10.1.0.0/28" && len(held) == 13 { // 16 less network, broadcast and gateway
						continue
					}
					t.Fatalf("%v with %d held", err, len(held))
				}
				for _, p := range task.Attachments[0].Addresses {
					within := func(c swarm.IPAMConfig) bool { return c.Subnet.Contains(p.Addr()) && c.Gateway != p.Addr() }
					if held[p.Addr()] != nil || !slices.ContainsFunc(n.IPAMOptions.Configs, within) {
						t.Fatalf("%s was given out twice or may not be given", p)
					}
					held[p.Addr()] = task
				}
				tasks = append(tasks, task)
			}
		}
	})
}

func TestNodeNumber(t *testing.T) {
	nodes := []*cluster.Node{{Number: 1}, {Number: 3}}
	if n, err := NodeNumber(slices.Values(nodes)); n != 2 || err != nil {
		t.Errorf("%d %v", n, err)
	}
}

// BenchmarkTasks gives 1,000 tasks an address in a network that holds 60,000.
func BenchmarkTasks(b *testing.B) {
	n := overlayNet("net", "10.1.0.0/16")
	s := empty()
	must(b, s.Network(n))
	for range 60_000 {
		addressOf(b, s, "net")
	}
	spec := &cluster.Spec{}
	spec.Task.Networks = []swarm.NetworkAttachmentConfig{{Target: "net"}}
	b.ReportAllocs()
	for b.Loop() {
		tasks := make([]cluster.Task, 1000)
		for i := range tasks {
			must(b, s.Task(&tasks[i], nil, spec))
		}
		for i := range tasks {
			s.ReleaseTask(&tasks[i])
		}
	}
}
