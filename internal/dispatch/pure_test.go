package dispatch

import (
	"errors"
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/moby/moby/api/types/swarm"
	"pgregory.net/rapid"

	"shoal/internal/cluster"
	"shoal/internal/store"
	"shoal/internal/store/storetest"
)

var start = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

func TestJudge(t *testing.T) {
	const period = 5 * time.Second
	at := func(s float64) time.Time { return start.Add(time.Duration(s * float64(time.Second))) }
	for _, test := range []struct {
		name   string
		closed bool
		probe  probe
		silent float64
		want   Verdict
	}{
		{"just heard", false, probeNone, 0, Wait},
		{"nearly a period", false, probeNone, 4.9, Wait},
		{"a period", false, probeNone, 5, Probe},
		{"being probed", false, probeAsked, 6, Wait},
		{"nobody reaches it", false, probeDead, 5.1, Down},
		{"it lives", false, probeAlive, 14.9, Wait},
		{"it lives, and is silent for long", false, probeAlive, 15, Down},
		{"the probe never ends", false, probeAsked, 15, Down},
		{"closed", true, probeNone, 7.4, Wait},
		{"closed for long", true, probeNone, 7.5, Down},
	} {
		if got := judge(beat{last: start, closed: test.closed, probe: test.probe}, period, at(test.silent)); got != test.want {
			t.Errorf("%s: %v, want %v", test.name, got, test.want)
		}
	}
}

func TestFallen(t *testing.T) {
	got := fallen([]time.Time{start, start.Add(5 * time.Minute)}, start.Add(11*time.Minute))
	if diff := cmp.Diff([]time.Time{start.Add(5 * time.Minute), start.Add(11 * time.Minute)}, got); diff != "" {
		t.Error(diff)
	}
}

// TestProgress: a node never counts as further than the oldest change that concerns it and is not applied, and is as far
// as everything when nothing is on its way.
func TestProgress(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var p progress
		var looked, applied uint64
		var open []uint64 // indexes of changes that concern the node and are not applied
		var sent []uint64
		working, has := []uint64(nil), false
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			switch rapid.IntRange(0, 4).Draw(t, "step") {
			case 0: // a change that concerns it
				p.mark(looked)
				looked++
				open = append(open, looked)
			case 1: // one that does not
				looked++
			case 2:
				p.begin()
				working, has = append([]uint64(nil), open...), true
			case 3:
				if has && len(working) > 0 && (len(sent) == 0 || sent[len(sent)-1] < looked) {
					p.done(looked, true)
					sent = append(sent, looked)
				} else if has && len(working) == 0 {
					p.done(looked, false)
				}
				has = false
			case 4:
				if len(sent) > 0 {
					applied = sent[0]
					sent = sent[1:]
					p.applied(applied)
					var left []uint64
					for _, i := range open {
						if i > applied {
							left = append(left, i)
						}
					}
					open = left
				}
			}
			got := p.at(looked)
			if len(open) > 0 && got >= open[0] {
				t.Fatalf("counts as applied up to %d, and change %d is not", got, open[0])
			}
		}
	})
	var p progress
	if p.at(7) != 7 {
		t.Error("a node that nothing concerned must not hold anybody up")
	}
	p.mark(3)
	p.begin()
	p.done(7, false)
	if p.at(7) != 7 {
		t.Error("nothing had to be sent, and it is still waited for")
	}
	p.mark(7)
	p.begin()
	p.done(9, true)
	if p.at(12) != 7 {
		t.Errorf("on its way: %d", p.at(12))
	}
	p.applied(9)
	if p.at(12) != 12 {
		t.Errorf("applied: %d", p.at(12))
	}
}

func prefix(s string) netip.Prefix { return netip.MustParsePrefix(s) }

// field makes a store with one service on an overlay and in the mesh, and its spec with one secret.
func field(t *testing.T, tasks ...*cluster.Task) *store.Store {
	s := storetest.New(t)
	storetest.Update(t, s, func(tx *store.Tx) {
		for _, id := range []string{"n1", "n2"} {
			n := &cluster.Node{DataAddr: netip.MustParseAddr("10.0.0." + id[1:]), Number: uint16(id[1] - '0')}
			n.ID = id
			store.Nodes.Put(tx, n)
		}
		for id, ingress := range map[string]bool{"net": false, "ing": true} {
			n := &cluster.Network{VNI: 4097}
			n.ID, n.Spec.Name, n.Spec.Ingress = id, "name-"+id, ingress
			store.Networks.Put(tx, n)
		}
		sec := &cluster.Secret{}
		sec.ID = "sec"
		store.Secrets.Put(tx, sec)
		store.Specs.Put(tx, &cluster.Spec{ID: "spec", RegistryAuth: "auth", Task: swarm.TaskSpec{
			ContainerSpec: &swarm.ContainerSpec{Image: "web:v1", Hostname: "h", Secrets: []*swarm.SecretReference{{SecretID: "sec"}}},
		}})
		svc := &cluster.Service{SpecID: "spec"}
		svc.ID, svc.Spec.Name = "svc", "web"
		svc.Spec.TaskTemplate.Networks = []swarm.NetworkAttachmentConfig{{Target: "net", Aliases: []string{"www"}}}
		svc.Endpoint.VirtualIPs = []swarm.EndpointVirtualIP{{NetworkID: "net", Addr: prefix("10.1.0.2/24")}, {NetworkID: "ing", Addr: prefix("10.2.0.2/24")}}
		svc.Endpoint.Ports = []swarm.PortConfig{{TargetPort: 80, PublishedPort: 8080, PublishMode: swarm.PortConfigPublishModeIngress}}
		store.Services.Put(tx, svc)
		for _, task := range tasks {
			store.Tasks.Put(tx, task)
		}
	})
	return s
}

// web is a task of the service on a node.
func web(id, node string, state, desired swarm.TaskState) *cluster.Task {
	n := id[len(id)-1:]
	t := &cluster.Task{ID: id, ServiceID: "svc", ServiceName: "web", SpecID: "spec", Slot: 1, NodeID: node, DesiredState: desired}
	t.Status.State = state
	t.Attachments = []cluster.Attachment{
		{NetworkID: "net", Addresses: []netip.Prefix{prefix("10.1.0.1" + n + "/24")}},
		{NetworkID: "ing", Addresses: []netip.Prefix{prefix("10.2.0.1" + n + "/24")}},
	}
	return t
}

func TestAssignments(t *testing.T) {
	const running, shutdown = swarm.TaskStateRunning, swarm.TaskStateShutdown
	s := field(t,
		web("t1", "n1", running, running), web("t2", "n1", swarm.TaskStateFailed, shutdown),
		web("t3", "n1", swarm.TaskStatePending, running), web("t4", "n2", running, running))
	type names struct{ Tasks, Secrets, Networks []string }
	got := func(node string) (n names) {
		set := Assignments(s.View(), node)
		for _, t := range set.Tasks {
			n.Tasks = append(n.Tasks, t.ID)
		}
		for _, s := range set.Secrets {
			n.Secrets = append(n.Secrets, s.ID)
		}
		n.Networks = set.Networks
		return n
	}
	if diff := cmp.Diff(names{[]string{"t1", "t2"}, []string{"sec"}, []string{"ing", "net"}}, got("n1")); diff != "" {
		t.Errorf("n1 (-want +got)\n%s", diff)
	}
	storetest.Update(t, s, func(tx *store.Tx) {
		ended := *store.Tasks.Get(tx, "t4")
		ended.Status.State = swarm.TaskStateComplete
		store.Tasks.Put(tx, &ended)
	})
	if diff := cmp.Diff(names{Tasks: []string{"t4"}}, got("n2"), cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("n2, whose task has ended (-want +got)\n%s", diff)
	}
	if a := assignment(s.View(), store.Tasks.Get(s.View(), "t4"), nil); a.RegistryAuth != "" {
		t.Error("an ended task's node gets its credentials")
	}
}

func TestNetworkState(t *testing.T) {
	const running, shutdown = swarm.TaskStateRunning, swarm.TaskStateShutdown
	left := web("t3", "n2", running, running)
	left.LeftIndex = 5
	s := field(t, web("t1", "n1", running, running), web("t2", "n1", swarm.TaskStatePreparing, running), left,
		web("t4", "n2", running, shutdown), web("t5", "n2", swarm.TaskStateFailed, shutdown))
	link := Link(s.View(), "net")
	alive := map[string]bool{}
	for _, e := range link.Endpoints {
		alive[e.TaskID] = e.Live
		if e.Hostname != "h" || e.Addresses[0] != netip.MustParseAddr("10.1.0.1"+e.TaskID[1:]) {
			t.Errorf("endpoint %+v", e)
		}
	}
	if diff := cmp.Diff(map[string]bool{"t1": true, "t2": false, "t3": false, "t4": false}, alive); diff != "" {
		t.Errorf("endpoints (-want +got)\n%s", diff)
	}
	vip := link.Services[0]
	if vip.Name != "web" || vip.Addresses[0] != netip.MustParseAddr("10.1.0.2") || vip.Aliases[0] != "www" {
		t.Errorf("service %+v", vip)
	}
	ports := Ports(s.View(), []string{"svc"}, "ing")
	want := []netip.Addr{netip.MustParseAddr("10.2.0.11")}
	if len(ports) != 1 || !cmp.Equal(ports[0].Backends, want, cmp.Comparer(func(a, b netip.Addr) bool { return a == b })) {
		t.Errorf("ports %+v", ports)
	}
}

// TestDelta drives a session's memory by changes, and checks that it sends what changed, and no more.
func TestDelta(t *testing.T) {
	s := field(t, web("t1", "n1", swarm.TaskStateRunning, swarm.TaskStateRunning))
	touched := newTouched()
	touched.restart(s.View())
	c := touched.take()
	w := (&world{}).next(s.View(), s.Index(), &c, touched.published)
	var h held
	step := func(f func(*store.Tx)) *cluster.Down {
		if f != nil {
			before := s.Index()
			storetest.Update(t, s, f)
			for e, err := range s.Watch(t.Context(), before) {
				if err != nil {
					t.Fatal(err)
				}
				touched.event(s.View(), e)
				break
			}
			c := touched.take()
			w = w.next(s.View(), s.Index(), &c, touched.published)
		}
		down, _, err := h.update(w, "n1")
		if err != nil {
			t.Fatal(err)
		}
		return down
	}
	change := func(id string, f func(*cluster.Task)) func(*store.Tx) {
		return func(tx *store.Tx) {
			task := *store.Tasks.Get(tx, id)
			f(&task)
			store.Tasks.Put(tx, &task)
		}
	}
	first := step(nil)
	if !first.Full || len(first.Tasks) != 1 || len(first.Secrets) != 1 || first.Network == nil || len(first.Network.Networks) != 2 ||
		len(first.Network.Ports) != 1 || first.Node == nil || first.HeartbeatPeriod != DefaultPeriod || first.Tasks[0].RegistryAuth != "auth" {
		t.Fatalf("full set: %+v", first)
	}
	if again := step(nil); again != nil {
		t.Errorf("nothing changed: %+v", again)
	}
	if d := step(change("t1", func(t *cluster.Task) { t.Status.Message = "x" })); d != nil {
		t.Errorf("its own report came back: %+v", d)
	}
	if d := step(func(tx *store.Tx) {
		store.Tasks.Put(tx, web("t2", "n2", swarm.TaskStateAssigned, swarm.TaskStateRunning))
	}); d == nil || len(d.Tasks) != 0 || d.Network == nil {
		t.Errorf("a task elsewhere on its network: %+v", d)
	}
	if d := step(change("t2", func(t *cluster.Task) { t.Status.State = swarm.TaskStatePreparing })); d != nil {
		t.Errorf("a state elsewhere that changes no endpoint: %+v", d)
	}
	if d := step(change("t2", func(t *cluster.Task) { t.Status.State = swarm.TaskStateRunning })); d == nil || len(d.Network.Ports[0].Backends) != 2 {
		t.Errorf("a task elsewhere is live: %+v", d)
	}
	if d := step(change("t1", func(t *cluster.Task) { t.DesiredState = swarm.TaskStateShutdown })); d == nil || len(d.Tasks) != 1 || d.Network == nil {
		t.Errorf("its task is to stop: %+v", d)
	}
	if d := step(change("t1", func(t *cluster.Task) { t.Status.State = swarm.TaskStateShutdown })); d == nil || !d.SecretsSet || len(d.Secrets) != 0 {
		t.Errorf("its task has stopped, and the secret is no longer needed: %+v", d)
	}
	if d := step(func(tx *store.Tx) { store.Tasks.Delete(tx, "t1") }); d == nil || !cmp.Equal(d.Gone, []string{"t1"}) {
		t.Errorf("its task is gone: %+v", d)
	}
	if d := step(func(tx *store.Tx) {
		n := *store.Nodes.Get(tx, "n1")
		n.Spec.Availability = swarm.NodeAvailabilityDrain
		store.Nodes.Put(tx, &n)
	}); d == nil || d.Node == nil || d.Network != nil {
		t.Errorf("its own object: %+v", d)
	}
	storetest.Update(t, s, func(tx *store.Tx) { store.Nodes.Delete(tx, "n1") })
	gone := *w
	gone.view = s.View()
	if _, _, err := h.update(&gone, "n1"); !errors.Is(err, errRemoved) {
		t.Errorf("removed: %v", err)
	}
}

func TestNews(t *testing.T) {
	task := web("t1", "n1", swarm.TaskStateRunning, swarm.TaskStateRunning)
	ended := web("t1", "n1", swarm.TaskStateFailed, swarm.TaskStateRunning)
	for _, test := range []struct {
		name string
		task *cluster.Task
		node string
		s    swarm.TaskStatus
		want bool
	}{
		{"unknown", nil, "n1", swarm.TaskStatus{State: swarm.TaskStateFailed}, false},
		{"another node's", task, "n2", swarm.TaskStatus{State: swarm.TaskStateFailed}, false},
		{"higher", task, "n1", swarm.TaskStatus{State: swarm.TaskStateFailed}, true},
		{"lower", task, "n1", swarm.TaskStatus{State: swarm.TaskStateStarting}, false},
		{"the same later", task, "n1", swarm.TaskStatus{State: swarm.TaskStateRunning, Timestamp: start}, false},
		{"the same with a word", task, "n1", swarm.TaskStatus{State: swarm.TaskStateRunning, Message: "started"}, true},
		{"ended", ended, "n1", swarm.TaskStatus{State: swarm.TaskStateFailed, Err: "x"}, false},
	} {
		if got := news(test.task, test.node, test.s); got != test.want {
			t.Errorf("%s: %v", test.name, got)
		}
	}
}

// TestTimestamp: a skewed clock changes nothing.
func TestTimestamp(t *testing.T) {
	for name, skew := range map[string]time.Duration{"right": 0, "behind": -10 * time.Minute, "ahead": time.Hour} {
		sent := start.Add(skew)
		got := timestamp(sent.Add(-3*time.Second), report{up: &cluster.Up{Sent: sent}, at: start})
		if !got.Equal(start.Add(-3 * time.Second)) {
			t.Errorf("%s: %s", name, got)
		}
	}
}

// TestNodeDown: a task whose node is down is in no network, and is back with its node.
func TestNodeDown(t *testing.T) {
	s := storetest.New(t)
	put := func(state swarm.NodeState) {
		storetest.Update(t, s, func(tx *store.Tx) {
			n := &cluster.Node{}
			n.ID, n.Status.State = "n1", state
			store.Nodes.Put(tx, n)
		})
	}
	put(swarm.NodeStateReady)
	storetest.Update(t, s, func(tx *store.Tx) {
		n := &cluster.Network{VNI: 4097}
		n.ID, n.Spec.Name = "net", "net"
		store.Networks.Put(tx, n)
		store.Tasks.Put(tx, &cluster.Task{
			ID: "t1", NodeID: "n1", DesiredState: swarm.TaskStateRunning,
			Container: &cluster.PlainContainer{ID: "c1", Name: "me"}, Status: swarm.TaskStatus{State: swarm.TaskStateRunning},
			Attachments: []cluster.Attachment{{NetworkID: "net", Addresses: []netip.Prefix{netip.MustParsePrefix("10.0.1.2/24")}}},
		})
	})
	there := func() int { return len(Link(s.View(), "net").Endpoints) }
	if there() != 1 {
		t.Error("the container has no endpoint")
	}
	if set := Assignments(s.View(), "n1"); len(set.Tasks) != 0 || len(set.Networks) != 1 {
		t.Errorf("its node runs %d tasks and is in %v, want none and net", len(set.Tasks), set.Networks)
	}
	touched := newTouched()
	before := s.Index()
	put(swarm.NodeStateDown)
	for ev, err := range s.Watch(t.Context(), before) {
		if err != nil {
			t.Fatal(err)
		}
		touched.event(s.View(), ev)
		break
	}
	if there() != 0 || touched.endpoints["net"] == nil {
		t.Errorf("%d endpoints on a node that is down; networks to tell of: %v", there(), touched.endpoints)
	}
	put(swarm.NodeStateReady)
	if there() != 1 {
		t.Error("the container did not come back with its node")
	}
}
