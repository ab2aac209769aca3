package plan

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"shoal/internal/cluster"
)

// sealed is a node's N of an encrypted network with a task at home and some on n2, under these generations of keys.
func sealed(ingress bool, sends uint64, generations ...uint64) Kernel {
	w := world{Tasks: 1, Remote: 2, Live: 3, Nodes: 2, Ingress: ingress}
	in := w.input()
	n := in.Networks[0]
	n.Encrypted, n.Sends = true, sends
	for _, g := range generations {
		n.Rings = append(n.Rings, cluster.Ring{Generation: g, Keys: []cluster.NodeKey{
			{NodeID: "n1", Public: "own" + TunnelLink(g), Port: 24789}, {NodeID: "n2", Public: "two" + TunnelLink(g), Port: 24790}, {NodeID: "gone", Public: "x", Port: 1},
		}})
	}
	return Kernel{n.NS(): Overlay(in, n)}
}

// words are the lines of a difference that speak of devices and routes, without their namespace.
func wordsOf(have, want Kernel) (out []string) {
	for _, op := range Diff(have, want) {
		_, line, _ := strings.Cut(op.String(), ": ")
		if strings.Contains(line, "wg") {
			out = append(out, line)
		}
	}
	return out
}

func TestEncrypted(t *testing.T) {
	for _, test := range []struct {
		name       string
		have, want Kernel
		lines      []string
	}{
		{"made", Kernel{}, sealed(false, 1, 1), []string{
			"ip link add wg1 mtu 1450 type wireguard",
			"wg set wg1 peer twowg1 endpoint 10.98.0.12:24790",
			"wg set wg1 peer twowg1 allowed-ips +10.0.9.6/32",
			"wg set wg1 peer twowg1 allowed-ips +10.0.9.7/32",
			"ip route replace 10.0.9.0/24 dev wg1",
		}},
		{"new keys", sealed(false, 1, 1), sealed(false, 1, 1, 2), []string{
			"ip link add wg2 mtu 1450 type wireguard",
			"wg set wg2 peer twowg2 endpoint 10.98.0.12:24790",
			"wg set wg2 peer twowg2 allowed-ips +10.0.9.6/32",
			"wg set wg2 peer twowg2 allowed-ips +10.0.9.7/32",
		}},
		{"sent by", sealed(false, 1, 1, 2), sealed(false, 2, 1, 2), []string{"ip route replace 10.0.9.0/24 dev wg2"}},
		{"old ones go", sealed(false, 2, 1, 2), sealed(false, 2, 2), []string{"ip link delete wg1"}},
		{"the same", sealed(false, 2, 1, 2), sealed(false, 2, 1, 2), nil},
		{"ingress", Kernel{}, sealed(true, 1, 1), []string{
			"ip link add wg1 mtu 1500 type wireguard",
			"wg set wg1 peer twowg1 endpoint 10.98.0.12:24790",
			"wg set wg1 peer twowg1 allowed-ips +198.19.0.2/32",
			"ip route replace 198.19.0.0/20 dev wg1",
			"ip route replace 198.19.0.0/20 dev wg1 table 100",
		}},
	} {
		if got := wordsOf(test.have, test.want); !slices.Equal(got, test.lines) {
			t.Errorf("%s:\n%s\nwant:\n%s", test.name, strings.Join(got, "\n"), strings.Join(test.lines, "\n"))
		}
	}
	ns := sealed(true, 1, 1)["n-1001"]
	if vx := ns.Links[vxlanLink]; !vx.Inside() || vx.Local != netip.MustParseAddr("198.19.0.1") {
		t.Errorf("an encrypted ingress network's VXLAN runs by %s", vx.Local)
	}
}

// TestEncryptedMoves: an address that another peer has now moves in one step, and one that nobody has is taken away.
func TestEncryptedMoves(t *testing.T) {
	have, want := sealed(false, 1, 1), sealed(false, 1, 1)
	ns := want["n-1001"]
	ns.Peers[Remote{"wg1", "three"}] = netip.MustParseAddrPort("10.98.0.13:24789")
	ns.Allowed[Allowed{"wg1", netip.MustParsePrefix("10.0.9.6/32")}] = "three"
	delete(ns.Allowed, Allowed{"wg1", netip.MustParsePrefix("10.0.9.7/32")})
	lines := []string{
		"wg set wg1 peer three endpoint 10.98.0.13:24789",
		"wg set wg1 peer three allowed-ips +10.0.9.6/32",
		"wg set wg1 peer twowg1 allowed-ips -10.0.9.7/32",
	}
	if got := wordsOf(have, want); !slices.Equal(got, lines) {
		t.Errorf("\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(lines, "\n"))
	}
	back := []string{
		"wg set wg1 peer twowg1 allowed-ips +10.0.9.6/32",
		"wg set wg1 peer twowg1 allowed-ips +10.0.9.7/32",
		"wg set wg1 peer three remove",
	}
	if got := wordsOf(want, have); !slices.Equal(got, back) {
		t.Errorf("back:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(back, "\n"))
	}
}

func TestGenerationOf(t *testing.T) {
	for name, want := range map[string]uint64{"wg1": 1, "wg204": 204, "wg": 0, "wg01": 0, "wg1x": 0, "vx0": 0, "wg-1": 0} {
		if got := GenerationOf(name); got != want {
			t.Errorf("%s: %d, want %d", name, got, want)
		}
	}
}

func TestOverhead(t *testing.T) {
	for _, test := range []struct {
		encrypted, ingress, v6 bool
		want                   int
	}{{false, false, false, 50}, {false, true, true, 70}, {true, false, false, 60}, {true, false, true, 80}, {true, true, false, 110}, {true, true, true, 130}} {
		n := &Net{NetworkLink: cluster.NetworkLink{Encrypted: test.encrypted, Ingress: test.ingress}}
		if got := Overhead(n, test.v6); got != test.want {
			t.Errorf("%+v: %d", test, got)
		}
	}
}
