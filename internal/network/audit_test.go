package network

import (
	"net/netip"
	"strings"
	"testing"

	"shoal/internal/network/plan"
)

// TestAudit breaks what the network made in every kind of namespace, and has it found and repaired.
func TestAudit(t *testing.T) {
	r := newRig(t)
	n := r.node("a", 11)
	box := n.attach(Request{ContainerID: id("a1"), Name: "a", Local: []LocalAttachment{{Network: "bridge"}}})
	other := n.attach(Request{ContainerID: id("b1"), Name: "b", Local: []LocalAttachment{{Network: "bridge"}}})
	n.serve(id("a1"), 80)
	if a, err := n.Audit(t.Context(), false); err != nil || len(a.Differences) != 0 || a.Namespaces != 4 {
		t.Fatalf("nothing was touched: %+v, %v", a, err)
	}
	to := netip.AddrPortFrom(box.Endpoints["bridge"].IPAddress, 80).String()
	said := "a1 " + other.Endpoints["bridge"].IPAddress.String()
	if got := r.from(n.inside(id("b1")), 1, "tcp", to); got[said] != 1 {
		t.Fatalf("before: %v, want %s", got, said)
	}
	pin := n.kernel.Path("n-b1")
	r.sh("nsenter --net=%s ip route flush proto 83", pin)
	r.sh("nsenter --net=%s ip address add 10.77.0.1/24 dev lo", pin)
	r.sh("nsenter --net=%s ip link del eth0", n.kernel.Path(plan.ContainerNS(id("a1"))))
	a, err := n.Audit(t.Context(), false)
	if err != nil {
		t.Fatal(err)
	}
	all := strings.Join(a.Differences, "\n")
	for _, want := range []string{"link", "eth0", "10.77.0.1", "route"} {
		if !strings.Contains(all, want) {
			t.Errorf("no word of %s in\n%s", want, all)
		}
	}
	if a, err = n.Audit(t.Context(), true); err != nil || !a.Repaired || len(a.Left) != 0 {
		t.Errorf("repair: %+v, %v", a, err)
	}
	if got := r.from(n.inside(id("b1")), 1, "tcp", to); got[said] != 1 {
		t.Errorf("after: %v, want %s", got, said)
	}
}
