package tunnel_test

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"shoal/internal/network/kernel"
	"shoal/internal/network/plan"
	"shoal/internal/network/tunnel"
)

// TestMain lets the test's own binary be the process of a device.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == tunnel.Word {
		os.Exit(tunnel.Main(os.Args[2:]))
	}
	os.Exit(m.Run())
}

// space is a namespace for devices.
func space(t *testing.T) (*kernel.Kernel, plan.NS) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Fatal("this test makes network namespaces: run it as root")
	}
	k, err := kernel.Open(t.TempDir(), "")
	if err != nil {
		t.Fatal(err)
	}
	ns := plan.NS("n-1")
	pin := func(away bool) error {
		return k.Apply(context.Background(), []plan.Op{{NS: ns, Delete: away, Item: plan.Pin{}}})
	}
	if err := pin(false); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := pin(true); err != nil {
			t.Error(err)
		}
		k.Close()
	})
	return k, ns
}

// devices are those with their control sockets below dir. It ends them all when the test does.
func devices(t *testing.T, k *kernel.Kernel, dir string, lost func(string)) *tunnel.Tunnels {
	t.Helper()
	tunnels, err := tunnel.New(tunnel.Config{
		Dir: dir, Spaces: k, Mode: tunnel.Userspace, Log: slog.New(slog.DiscardHandler), Lost: func(_ plan.NS, name string) { lost(name) },
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := tunnels.Retain(func(plan.NS) bool { return false }); err != nil {
			t.Error(err)
		}
		tunnels.Close()
	})
	return tunnels
}

const (
	one   = "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE="
	two   = "AgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgI="
	three = "AwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwM="
)

func peer(name, key string, port uint16) plan.Op {
	return plan.Op{Item: plan.PeerItem{Remote: plan.Remote{Link: name, Key: key}, Endpoint: netip.AddrPortFrom(netip.MustParseAddr("192.0.2.1"), port)}}
}

func allowed(name, key, prefix string) plan.Op {
	return plan.Op{Item: plan.AllowedItem{Allowed: plan.Allowed{Link: name, Prefix: netip.MustParsePrefix(prefix)}, Key: key}}
}

func without(op plan.Op) plan.Op {
	op.Delete = true
	return op
}

// addresses are the keys by the address that is behind them.
func addresses(d tunnel.Device) map[string]string {
	out := map[string]string{}
	for a, key := range d.Allowed {
		out[a.Prefix.String()] = key
	}
	return out
}

// changes tries everything that can be done to a device, the way that change leads to it.
func changes(t *testing.T, name string, change func([]plan.Op) error, read func() (tunnel.Device, error)) {
	t.Helper()
	for _, step := range []struct {
		ops  []plan.Op
		want map[string]string
	}{
		{
			[]plan.Op{peer(name, one, 1), peer(name, two, 2), allowed(name, one, "10.0.0.1/32"), allowed(name, one, "fd00::1/128"), allowed(name, two, "10.0.0.2/32")},
			map[string]string{"10.0.0.1/32": one, "fd00::1/128": one, "10.0.0.2/32": two},
		},
		{[]plan.Op{allowed(name, two, "10.0.0.1/32")}, map[string]string{"10.0.0.1/32": two, "fd00::1/128": one, "10.0.0.2/32": two}},
		{[]plan.Op{without(allowed(name, two, "10.0.0.2/32"))}, map[string]string{"10.0.0.1/32": two, "fd00::1/128": one}},
		{[]plan.Op{peer(name, three, 3), allowed(name, three, "10.0.0.1/32"), without(peer(name, one, 1))}, map[string]string{"10.0.0.1/32": three}},
	} {
		if err := change(step.ops); err != nil {
			t.Fatal(err)
		}
		d, err := read()
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(step.want, addresses(d)); diff != "" {
			t.Errorf("after %v: %s", step.ops, diff)
		}
	}
	d, err := read()
	if err != nil {
		t.Fatal(err)
	}
	peers := map[string]string{}
	for p, to := range d.Peers {
		peers[p.Key] = to.String()
	}
	if diff := cmp.Diff(map[string]string{two: "192.0.2.1:2", three: "192.0.2.1:3"}, peers); diff != "" {
		t.Errorf("peers: %s", diff)
	}
}

func TestProcess(t *testing.T) {
	dir, err := os.MkdirTemp("/tmp", "wg")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	k, ns := space(t)
	lost := make(chan string, 2)
	tunnels := devices(t, k, dir, func(name string) { lost <- name })
	if _, err := tunnels.Read(ns, "wg1"); err == nil {
		t.Error("a device that was not made answers")
	}
	if err := tunnels.Create(ns, "wg1", 1400); err != nil {
		t.Fatal(err)
	}
	first, err := tunnels.Read(ns, "wg1")
	if err != nil || len(first.Public) != 44 || first.Port < tunnel.FirstPort || first.Port > tunnel.LastPort {
		t.Fatalf("a new device: %+v, %v", first, err)
	}
	if err := tunnels.Create(ns, "wg2", 1400); err != nil {
		t.Fatal(err)
	}
	if second, err := tunnels.Read(ns, "wg2"); err != nil || second.Port == first.Port || second.Public == first.Public {
		t.Errorf("a second device: %+v, %v, beside %+v", second, err, first)
	}
	changes(t, "wg1", func(ops []plan.Op) error { return tunnels.Change(ns, "wg1", ops) }, func() (tunnel.Device, error) { return tunnels.Read(ns, "wg1") })
	if err := tunnels.Create(ns, "wg1", 1300); err != nil {
		t.Fatal(err)
	}
	if again, err := tunnels.Read(ns, "wg1"); err != nil || again.Public != first.Public || len(again.Peers) != 2 {
		t.Errorf("a device that is there was made anew: %+v, %v", again, err)
	}
	if err := tunnels.Remove(ns, "wg2"); err != nil {
		t.Fatal(err)
	}
	if err := tunnels.Retain(func(plan.NS) bool { return false }); err != nil {
		t.Fatal(err)
	}
	select {
	case name := <-lost:
		if name != "wg1" {
			t.Errorf("lost: %s", name)
		}
	case <-time.After(5 * time.Second):
		t.Error("nobody said that a process has ended")
	}
	if left, _ := os.ReadDir(dir); len(left) > 0 {
		t.Errorf("left over: %v", left)
	}
}

// TestKernelWords gives a device the words that the kernel's get, by the library that speaks to the kernel, and finds that
// they mean the same. (It speaks to processes too, when their sockets lie where WireGuard's own tools look.)
func TestKernelWords(t *testing.T) {
	dir, err := os.MkdirTemp("/run", "wg")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	k, ns := space(t)
	made := devices(t, k, dir, func(string) {})
	name := fmt.Sprintf("wg%d", os.Getpid())
	if err := made.Create(ns, name, 1400); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := made.Remove(ns, name); err != nil {
			t.Error(err)
		}
	}()
	if err := os.MkdirAll("/var/run/wireguard", 0o755); err != nil {
		t.Fatal(err)
	}
	socket := filepath.Join("/var/run/wireguard", name+".sock")
	if err := os.Link(filepath.Join(dir, string(ns)+"."+name), socket); err != nil {
		t.Fatal(err)
	}
	defer func() { _, _ = os.Remove(socket), os.Remove("/var/run/wireguard") }() // the folder stays when others use it
	own, err := made.Read(ns, name)
	if err != nil {
		t.Fatal(err)
	}
	// One whose control sockets are elsewhere takes the device for the kernel's.
	other := devices(t, k, filepath.Join(dir, "none"), func(string) {})
	changes(t, name, func(ops []plan.Op) error { return other.Change(ns, name, ops) }, func() (tunnel.Device, error) { return other.Read(ns, name) })
	have, err := made.Read(ns, name)
	if err != nil {
		t.Fatal(err)
	}
	if have.Public != own.Public {
		t.Errorf("its key was changed: %s, was %s", have.Public, own.Public)
	}
}
