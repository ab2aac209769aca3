package plan

import (
	"fmt"
	"maps"
	"net/netip"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"
	"github.com/google/go-cmp/cmp"
	"github.com/moby/moby/api/types/swarm"
	"pgregory.net/rapid"

	"shoal/internal/cluster"
)

// world is what the property and the scripts draw kernels from.
type world struct {
	Tasks, Remote, Live int
	Ingress, Local      bool
	V6                  bool
	Nodes               int
}

func (w world) input() Input {
	in := Input{Prefix: "shoal", Zones: true, Self: cluster.NodeLink{ID: "n1", Number: 1, Addr: netip.MustParseAddr("10.98.0.11")}}
	for i := range w.Nodes {
		in.Nodes = append(in.Nodes, cluster.NodeLink{ID: fmt.Sprintf("n%d", i+1), Number: uint16(i + 1), Addr: netip.AddrFrom4([4]byte{10, 98, 0, byte(11 + i)})})
	}
	net := &Net{NetworkLink: cluster.NetworkLink{ID: "net", Name: "net", VNI: 4097, MTU: 1450, Ingress: w.Ingress, Subnets: []netip.Prefix{netip.MustParsePrefix("10.0.9.0/24")}}}
	if w.V6 {
		net.Subnets = append(net.Subnets, netip.MustParsePrefix("fd09::/64"))
	}
	net.Services = []cluster.VIP{{ServiceID: "web", Name: "web", Addresses: []netip.Addr{netip.MustParseAddr("10.0.9.2")}}}
	var live []netip.Addr
	for i := range w.Tasks + w.Remote {
		a := netip.AddrFrom4([4]byte{10, 0, 9, byte(5 + i)})
		e := cluster.Endpoint{TaskID: fmt.Sprint(i), NodeID: "n1", ServiceID: "web", Addresses: []netip.Addr{a}, Live: i < w.Live}
		if i < w.Tasks {
			net.Places = append(net.Places, Place{Container: fmt.Sprintf("c%d", i), Interface: "eth0", Addrs: []netip.Prefix{netip.PrefixFrom(a, 24)}})
		} else {
			e.NodeID = "n2"
		}
		if e.Live {
			live = append(live, a)
		}
		net.Endpoints = append(net.Endpoints, e)
	}
	in.Networks = []*Net{net}
	if w.Local {
		in.Networks = append(in.Networks, &Net{Local: true, Number: 1, NetworkLink: cluster.NetworkLink{
			ID: "bridge", Name: "bridge", MTU: 1500,
			Subnets: []netip.Prefix{netip.MustParsePrefix("172.17.0.0/16")}, Gateways: []netip.Addr{netip.MustParseAddr("172.17.0.1")},
		}})
	}
	if w.Ingress {
		in.Mesh = []cluster.Port{{ServiceID: "web", Config: swarm.PortConfig{TargetPort: 80, PublishedPort: 8080}, Backends: live}}
	}
	return in
}

func (w world) kernel() Kernel {
	in := w.input()
	k := Kernel{HostNS: Host(in)}
	for _, n := range in.Networks {
		k[n.NS()] = Overlay(in, n)
	}
	return k
}

func (w *world) set(d *datadriven.TestData) {
	for _, arg := range d.CmdArgs {
		var v int
		if len(arg.Vals) > 0 {
			_, _ = fmt.Sscan(arg.Vals[0], &v)
		}
		switch arg.Key {
		case "tasks":
			w.Tasks = v
		case "remote":
			w.Remote = v
		case "live":
			w.Live = v
		case "nodes":
			w.Nodes = v
		case "ingress":
			w.Ingress = true
		case "local":
			w.Local = true
		case "v6":
			w.V6 = true
		}
	}
}

// TestScripts prints what changes from one world to the next, as ip and nft lines.
func TestScripts(t *testing.T) {
	datadriven.Walk(t, "testdata", func(t *testing.T, path string) {
		have := Kernel{}
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			var want Kernel
			switch d.Cmd {
			case "world":
				w := world{Nodes: 2}
				w.set(d)
				want = w.kernel()
			case "container":
				in := world{Nodes: 2, Tasks: 1}.input()
				ops := Diff(Kernel{}, Kernel{ContainerNS("c0"): Container("c0", []Interface{{Net: in.Networks[0], Name: "eth0", Addr: in.Networks[0].Places[0].Addrs, Default: true}}, true)})
				return lines(ops)
			case "nothing":
				want = Kernel{HostNS: Host(Input{Prefix: "shoal"})}
			default:
				d.Fatalf(t, "unknown command")
			}
			ops := Diff(have, want)
			have = want
			return lines(ops)
		})
	})
}

func lines(ops []Op) string {
	var b strings.Builder
	for _, op := range ops {
		fmt.Fprintln(&b, op)
	}
	return b.String()
}

func draw(t *rapid.T, name string) world {
	return world{
		Tasks: rapid.IntRange(0, 3).Draw(t, name+" tasks"), Remote: rapid.IntRange(0, 3).Draw(t, name+" remote"), Live: rapid.IntRange(0, 6).Draw(t, name+" live"),
		Nodes: rapid.IntRange(2, 4).Draw(t, name+" nodes"), Ingress: rapid.Bool().Draw(t, name+" ingress"), Local: rapid.Bool().Draw(t, name+" local"), V6: rapid.Bool().Draw(t, name+" v6"),
	}
}

// Applying the difference of any two worlds to the first gives the second, and from there nothing differs.
func TestDiffLeadsThere(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b := draw(t, "a").kernel(), draw(t, "b").kernel()
		if ops := Diff(b, b); len(ops) > 0 {
			t.Fatalf("equal states differ: %s", lines(ops))
		}
		got := model(a)
		for _, op := range Diff(a, b) {
			if err := got.do(op); err != nil {
				t.Fatalf("%s: %v", op, err)
			}
		}
		if diff := cmp.Diff(model(b), got, cmp.Comparer(func(x, y netip.Addr) bool { return x == y }), cmp.Comparer(func(x, y netip.Prefix) bool { return x == y })); diff != "" {
			t.Fatal(diff)
		}
	})
}

// model is a kernel as the lines it would print, which is enough to tell kernels apart, and refuses what a kernel would.
type lineSet map[NS]map[string]bool

func model(k Kernel) lineSet {
	m := lineSet{HostNS: {}}
	for _, op := range Diff(Kernel{}, k) {
		_ = m.do(op)
	}
	if k[HostNS] == nil {
		m[HostNS] = map[string]bool{}
	}
	return m
}

func (m lineSet) do(op Op) error {
	if _, ok := op.Item.(Pin); ok {
		if op.Delete {
			delete(m, op.NS)
		} else {
			m[op.NS] = map[string]bool{}
		}
		return nil
	}
	ns := m[op.NS]
	if ns == nil {
		return fmt.Errorf("no such namespace")
	}
	key := op.Item.String()
	drop := func(prefix string) {
		maps.DeleteFunc(ns, func(l string, _ bool) bool { return strings.HasPrefix(l, prefix) })
	}
	switch item := op.Item.(type) {
	case Sysctl:
		if op.NS == HostNS || ofLink(item.Path) {
			return nil // left as they are when the last network goes; a link takes its own with it
		}
		drop("sysctl " + item.Path + "=")
	case RouteItem:
		if !op.Delete {
			maps.DeleteFunc(ns, func(l string, _ bool) bool {
				return strings.HasPrefix(l, "route "+item.Prefix.String()+" ") && strings.HasSuffix(l, fmt.Sprintf("#%d", item.Table))
			})
		}
		key = fmt.Sprintf("route %s %+v dev %s #%d", item.Prefix, item.Route, item.Link, item.Table)
	case LinkItem:
		key = fmt.Sprintf("link %s %+v", item.Name, item.Link)
		if op.Delete {
			maps.DeleteFunc(ns, func(l string, _ bool) bool {
				return strings.Contains(l+" ", " dev "+item.Name+" ") || strings.HasPrefix(l, "link "+item.Name+" ")
			})
			return nil
		}
		drop("link " + item.Name + " ")
	case TableID:
		if op.Delete {
			maps.DeleteFunc(ns, func(l string, _ bool) bool { return strings.Contains(l, " "+item.words()+" ") })
		}
		key += " "
	case Flush:
		drop("nft rule " + item.Table.words() + " " + item.Name + " ")
		return nil
	case Element:
		if ns[key] == !op.Delete {
			return fmt.Errorf("element there already, or not there")
		}
	case ChainItem:
		if op.Delete {
			drop("nft rule " + item.Table.words() + " " + item.Name + " ")
		}
	}
	if op.Delete {
		delete(ns, key)
	} else {
		ns[key] = true
	}
	return nil
}
