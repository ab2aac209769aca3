package controlplane

import (
	"net/netip"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/network"

	"shoal/internal/cluster"
	"shoal/internal/store"
	"shoal/internal/store/storetest"
)

func ipam(subnet, gateway, ipRange string) *network.IPAM {
	cfg := network.IPAMConfig{}
	if subnet != "" {
		cfg.Subnet = netip.MustParsePrefix(subnet)
	}
	if gateway != "" {
		cfg.Gateway = netip.MustParseAddr(gateway)
	}
	if ipRange != "" {
		cfg.IPRange = netip.MustParsePrefix(ipRange)
	}
	return &network.IPAM{Config: []network.IPAMConfig{cfg}}
}

func TestNetworkRefusals(t *testing.T) {
	invalid, refused, missing := errdefs.ErrInvalidArgument, errdefs.ErrPermissionDenied, errdefs.ErrNotImplemented
	c := newControl(t)
	if _, err := c.CreateNetwork(t.Context(), network.CreateRequest{Name: "taken", IPAM: ipam("192.168.1.0/24", "", "")}); err != nil {
		t.Fatal(err)
	}
	before := c.Store.Index()
	off := false
	for _, tt := range []struct {
		name  string
		req   network.CreateRequest
		class error
		want  string
	}{
		{"no name", network.CreateRequest{}, invalid, "meta: name must be provided"},
		{"bad name", network.CreateRequest{Name: "a b"}, invalid, "name must be valid as a DNS name component"},
		{"predefined", network.CreateRequest{Name: "bridge"}, refused, "operation is not permitted on predefined bridge network"},
		{"taken", network.CreateRequest{Name: "taken"}, errdefs.ErrAlreadyExists, "network with name taken already exists"},
		{"driver", network.CreateRequest{Name: "n", Driver: "macvlan"}, missing, `network driver "macvlan" is not supported in the swarm scope: use overlay`},
		{"config-only", network.CreateRequest{Name: "n", ConfigOnly: true}, missing, "config-only networks are not supported in the swarm scope"},
		{"no IPv4", network.CreateRequest{Name: "n", EnableIPv4: &off}, invalid, "IPv4 cannot be disabled in a swarm network"},
		{"label", network.CreateRequest{Name: "n", Labels: map[string]string{cluster.PredefinedLabel: "1"}}, refused, "label com.docker.swarm.predefined is for internally created predefined networks and cannot be applied by users"},
		{"period of keys", network.CreateRequest{Name: "n", Options: map[string]string{"encrypted": "", "shoal.rotate": "5s"}}, invalid, "option shoal.rotate=5s: want a duration of at least 1m0s, such as 12h"},
		{"period without keys", network.CreateRequest{Name: "n", Options: map[string]string{"encrypted": "false", "shoal.rotate": "1h"}}, invalid, "option shoal.rotate is for encrypted networks: add --opt encrypted"},
		{"attachable ingress", network.CreateRequest{Name: "n", Ingress: true, Attachable: true}, invalid, "ingress network cannot be attachable"},
		{"no subnet", network.CreateRequest{Name: "n", IPAM: ipam("", "10.1.1.1", "")}, invalid, "ipam configuration: invalid subnet invalid Prefix"},
		{"host bits", network.CreateRequest{Name: "n", IPAM: ipam("10.1.1.5/24", "", "")}, invalid, "invalid network config: invalid subnet 10.1.1.5/24: it should be 10.1.1.0/24"},
		{"gateway", network.CreateRequest{Name: "n", IPAM: ipam("10.1.1.0/24", "10.1.2.1", "")}, invalid, "ipam configuration: subnet 10.1.1.0/24 does not contain gateway 10.1.2.1"},
		{"range", network.CreateRequest{Name: "n", IPAM: ipam("10.1.1.0/24", "", "10.1.2.0/25")}, invalid, "ipam configuration: subnet 10.1.1.0/24 does not contain range 10.1.2.0/25"},
		{"overlap", network.CreateRequest{Name: "n", IPAM: ipam("192.168.1.128/25", "", "")}, invalid, "invalid pool request: Pool overlaps with other one on this address space"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := c.CreateNetwork(t.Context(), tt.req)
			wantError(t, err, tt.class, tt.want)
		})
	}
	id := ingressNetwork(c.Store.View()).ID
	_, err := c.CreateNetwork(t.Context(), network.CreateRequest{Name: "n", Ingress: true})
	wantError(t, err, errdefs.ErrAlreadyExists, "ingress network ("+id+") is already present")
	if after := c.Store.Index(); after != before {
		t.Errorf("refusals moved the store from %d to %d", before, after)
	}
}

func TestNetworkInUse(t *testing.T) {
	c := newControl(t)
	ctx := t.Context()
	id, err := c.CreateNetwork(ctx, network.CreateRequest{Name: "net", Attachable: true})
	if err != nil {
		t.Fatal(err)
	}
	s := create(t, c, `{"TaskTemplate":{"Networks":[{"Target":"net"}]}}`)
	if s.Spec.TaskTemplate.Networks[0].Target != id || len(s.Endpoint.VirtualIPs) != 1 {
		t.Errorf("the service is on %+v with %+v", s.Spec.TaskTemplate.Networks, s.Endpoint.VirtualIPs)
	}
	wantError(t, c.RemoveNetwork(ctx, "net"), errdefs.ErrFailedPrecondition, "network "+id+" is in use by service "+s.ID)
	putTask(t, c, s, "t1", func(x *cluster.Task) { x.Attachments = []cluster.Attachment{{NetworkID: id}} })
	if err := c.RemoveService(ctx, "web"); err != nil {
		t.Fatal(err)
	}
	wantError(t, c.RemoveNetwork(ctx, "host"), errdefs.ErrFailedPrecondition, "network host (host) is a swarm predefined network and cannot be removed")
	if removed, err := c.PruneNetworks(ctx, Filters{"label!": {"keep"}}, time.Time{}); err != nil || len(removed) != 1 || removed[0] != "net" {
		t.Errorf("prune took %v, %v, want net", removed, err)
	}
	// A task of the removed service is still ending in it: the name is free, the network goes with the task.
	if _, err := c.Network("net", false, false); !errdefs.IsNotFound(err) {
		t.Errorf("a removed network is found: %v", err)
	}
	wantError(t, c.RemoveNetwork(ctx, id), errdefs.ErrNotFound, "network "+id+" not found")
	if next, err := c.CreateNetwork(ctx, network.CreateRequest{Name: "net"}); err != nil || next == id {
		t.Errorf("the name is not free: %v", err)
	} else if a, b := store.Networks.Get(c.Store.View(), id), store.Networks.Get(c.Store.View(), next); a.VNI == b.VNI {
		t.Errorf("both have VNI %d", a.VNI)
	}
	storetest.Update(t, c.Store, DropLeavingNetworks)
	if store.Networks.Get(c.Store.View(), id) == nil {
		t.Error("the network has gone before its task")
	}
	storetest.Update(t, c.Store, func(tx *store.Tx) {
		store.Tasks.Delete(tx, "t1")
		DropLeavingNetworks(tx)
	})
	if store.Networks.Get(c.Store.View(), id) != nil {
		t.Error("the network has stayed after its task")
	}
}

func TestAttach(t *testing.T) {
	c := newControl(t)
	ctx := t.Context()
	for _, req := range []network.CreateRequest{{Name: "open", Attachable: true}, {Name: "closed"}} {
		if _, err := c.CreateNetwork(ctx, req); err != nil {
			t.Fatal(err)
		}
	}
	ask := func(network, container string) cluster.AttachRequest {
		return cluster.AttachRequest{Network: network, Container: cluster.PlainContainer{ID: container}, Aliases: []string{"me"}}
	}
	_, err := c.Attach(ctx, "node1", ask("closed", "c1"))
	wantError(t, err, errdefs.ErrPermissionDenied, "network closed not manually attachable")
	_, err = c.Attach(ctx, "node9", ask("open", "c1"))
	wantError(t, err, errdefs.ErrNotFound, "node node9 not found")
	a, err := c.Attach(ctx, "node1", ask("open", "c1"))
	if err != nil {
		t.Fatal(err)
	}
	b, err := c.Attach(ctx, "node1", ask("open", "c2"))
	if err != nil || a.Attachment.Addresses[0] == b.Attachment.Addresses[0] {
		t.Errorf("two containers at one address: %v and %v, %v", a, b, err)
	}
	if again, err := c.Attach(ctx, "node1", ask("open", "c1")); err != nil || again.TaskID != a.TaskID {
		t.Errorf("a container that is in the network gets %v, %v, want its place %v", again, err, a)
	}
	if got := c.Places("node1"); len(got) != 2 {
		t.Errorf("places of the node: %v, want two", got)
	}
	if got := c.NetworksFor("node1"); len(got) != 2 || got[0].Name == "closed" || got[1].Name == "closed" {
		t.Errorf("the node may know of %v, want ingress and open", got)
	}
	n, err := c.Network("open", false, true)
	if err != nil {
		t.Fatal(err)
	}
	for subnet, use := range n.Status.IPAM.Subnets {
		if use.IPsInUse != 5 || use.DynamicIPsAvailable != 251 {
			t.Errorf("%s: %+v, want 5 in use of 256", subnet, use)
		}
	}
	wantError(t, c.Detach(ctx, "node2", []string{a.TaskID}), errdefs.ErrPermissionDenied,
		"task "+a.TaskID+" is not a network attachment of node node2")
	for range 2 {
		if err := c.Detach(ctx, "node1", []string{a.TaskID}); err != nil {
			t.Errorf("detach: %v", err)
		}
	}
	if got := c.Places("node1"); len(got) != 1 || got[0].Container.ID != "c2" {
		t.Errorf("places of the node: %v, want c2's", got)
	}
}

func TestNetworkListing(t *testing.T) {
	c := newControl(t)
	if _, err := c.CreateNetwork(t.Context(), network.CreateRequest{Name: "net", Labels: map[string]string{"a": "b"}}); err != nil {
		t.Fatal(err)
	}
	names := make(map[string]network.Inspect)
	for _, n := range c.Networks() {
		names[n.Name] = n
	}
	if len(names) != 2 || names["ingress"].IPAM.Config[0].Subnet != netip.MustParsePrefix("10.0.0.0/24") || !names["ingress"].Ingress || names["net"].Scope != "swarm" {
		t.Errorf("networks: %+v", names)
	}
	if n, err := c.Network("host", false, false); err != nil || n.Scope != "swarm" || n.Driver != "host" {
		t.Errorf("the swarm's host network, which services name: %+v, %v", n, err)
	}
	net := names["net"].Network
	for _, tt := range []struct {
		f    Filters
		want bool
	}{
		{nil, true},
		{Filters{"driver": {"overlay"}}, true},
		{Filters{"driver": {"bridge"}}, false},
		{Filters{"scope": {"swarm"}, "name": {"ne"}, "label": {"a=b"}, "type": {"custom"}}, true},
		{Filters{"type": {"builtin"}}, false},
		{Filters{"dangling": {"true"}}, true},
		{Filters{"dangling": {"false"}}, false},
	} {
		if got := MatchNetwork(tt.f, &net, false); got != tt.want {
			t.Errorf("%v: %v, want %v", tt.f, got, tt.want)
		}
	}
	wantError(t, CheckNetworkFilter(Filters{"dangling": {"maybe"}}), errdefs.ErrInvalidArgument, "invalid filter 'dangling=maybe'")
	wantError(t, CheckNetworkFilter(Filters{"type": {"odd"}}), errdefs.ErrInvalidArgument, "invalid filter: 'type'='odd'")
}
