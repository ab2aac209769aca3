package network

import (
	"net/netip"
	"strings"
	"testing"

	api "github.com/moby/moby/api/types/network"
)

// TestConnect moves a running container between networks of its node.
func TestConnect(t *testing.T) {
	r := newRig(t)
	n := r.node("a", 11)
	ctx := t.Context()
	for _, name := range []string{"one", "two"} {
		if _, err := n.CreateLocal(ctx, api.CreateRequest{Name: name}); err != nil {
			t.Fatal(err)
		}
	}
	n.attach(Request{ContainerID: id("a1"), Name: "a", Local: []LocalAttachment{{Network: "one"}}})
	far := n.attach(Request{ContainerID: id("b1"), Name: "b", Local: []LocalAttachment{{Network: "two"}}})
	n.serve(id("b1"), 80)
	to := netip.AddrPortFrom(far.Endpoints["two"].IPAddress, 80).String()
	srv := r.serveOutside()
	reaches := func(when string, want bool) {
		t.Helper()
		got := r.from(n.inside(id("a1")), 1, "tcp", to)
		if answered := len(got) == 1 && strings.HasPrefix(first(got), "b1 "); answered != want {
			t.Errorf("%s: the other network answered %v, want an answer: %v", when, got, want)
		}
		if got := r.from(n.inside(id("a1")), 1, "tcp", srv); first(got) != "out 10.98.0.11" {
			t.Errorf("%s: the way out: %v", when, got)
		}
		n.exact()
		if a, err := n.Audit(ctx, false); err != nil || len(a.Differences) > 0 {
			t.Errorf("%s: %v, %v", when, a.Differences, err)
		}
	}
	reaches("before", false)
	if err := n.Connect(ctx, id("a1"), LocalAttachment{Network: "two", Aliases: []string{"also"}}); err != nil {
		t.Fatal(err)
	}
	reaches("connected", true)
	if got, _ := n.resolve(id("b1"), "udp", "also.", 1); len(got) != 1 {
		t.Errorf("the alias resolves to %v", got)
	}
	if err := n.Connect(ctx, id("a1"), LocalAttachment{Network: "two"}); err == nil || err.Error() != "endpoint with name a already exists in network two" {
		t.Errorf("connected twice: %v", err)
	}
	n.restart()
	reaches("after a restart", true)
	if err := n.Disconnect(ctx, id("a1"), "one"); err != nil { // its default route moves to the other
		t.Fatal(err)
	}
	reaches("with the other alone", true)
	if err := n.Connect(ctx, id("a1"), LocalAttachment{Network: "one"}); err != nil {
		t.Fatal(err)
	}
	if err := n.Disconnect(ctx, id("a1"), "two"); err != nil {
		t.Fatal(err)
	}
	reaches("back", false)
	if err := n.Disconnect(ctx, id("a1"), "two"); err == nil || !strings.Contains(err.Error(), "is not connected to network two") {
		t.Errorf("disconnected twice: %v", err)
	}
}

func first(said map[string]int) string {
	for s := range said {
		return s
	}
	return ""
}
