package daemon

import (
	"net/netip"
	"strings"
	"testing"
)

func TestAdvertise(t *testing.T) {
	eth0 := link{"eth0", []netip.Addr{netip.MustParseAddr("10.0.0.5"), netip.MustParseAddr("fd00::5")}}
	eth1 := link{"eth1", []netip.Addr{netip.MustParseAddr("192.168.0.5")}}
	for _, c := range []struct {
		name, want, listen string
		links              []link
		addr, err          string
	}{
		{"the only one", "", "0.0.0.0:2377", []link{eth0}, "10.0.0.5:2377", ""},
		{"two are not guessed between", "", "", []link{eth0, eth1}, "", "multiple addresses"},
		{"none", "", "", nil, "", "could not find"},
		{"by interface", "eth1", "", []link{eth0, eth1}, "192.168.0.5:2377", ""},
		{"interface and port", "eth1:4000", "", []link{eth0, eth1}, "192.168.0.5:4000", ""},
		{"the listening address lends itself", "", "10.0.0.5:3000", []link{eth0, eth1}, "10.0.0.5:3000", ""},
		{"the listening port lends itself", "10.9.9.9", "0.0.0.0:3000", []link{eth0}, "10.9.9.9:3000", ""},
		{"IPv6", "fd00::7", "", nil, "[fd00::7]:2377", ""},
		{"zero", "0.0.0.0", "", nil, "", "non-zero"},
		{"unknown", "wlan7", "", []link{eth0}, "", "neither an IP address"},
		{"port", "10.0.0.1:70000", "", nil, "", "invalid port"},
		{"nonsense", "a:b:c", "", nil, "", "invalid address"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := advertise(c.want, c.listen, c.links)
			if c.err != "" {
				if err == nil || !strings.Contains(err.Error(), c.err) {
					t.Fatalf("error %v, want %q in it", err, c.err)
				}
				return
			}
			if err != nil || got.String() != c.addr {
				t.Errorf("got %v, error %v; want %s", got, err, c.addr)
			}
		})
	}
}

func TestListenAddr(t *testing.T) {
	eth0 := link{"eth0", []netip.Addr{netip.MustParseAddr("10.0.0.5")}}
	for want, addr := range map[string]string{"": "0.0.0.0:2377", "eth0": "10.0.0.5:2377", "0.0.0.0:99": "0.0.0.0:99", "[::]:5": "[::]:5"} {
		if got, err := listenAddr(want, []link{eth0}); err != nil || got != addr {
			t.Errorf("listenAddr(%q) = %q, %v; want %q", want, got, err, addr)
		}
	}
	if _, err := listenAddr("eth9", []link{eth0}); err == nil {
		t.Error("an unknown interface was accepted")
	}
}
