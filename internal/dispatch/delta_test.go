package dispatch

import (
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/moby/moby/api/types/swarm"
	"pgregory.net/rapid"

	"shoal/internal/cluster"
	"shoal/internal/store"
	"shoal/internal/store/storetest"
)

// A node that is sent changes holds what one that is sent whole states holds, and is sent nothing for a change that is none. What a
// world makes of the one before is what it would make of the store, whether or not anybody has looked at those between.
func TestChangesLeadWhereWholeStatesLead(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		s := field(t, web("t1", "n1", swarm.TaskStateRunning, swarm.TaskStateRunning))
		touched := newTouched()
		touched.restart(s.View())
		c := touched.take()
		w := (&world{}).next(s.View(), s.Index(), &c, touched.published)
		whole, changed := held{}, held{deltas: true}
		var want, got cluster.NetworkState
		for step := range rapid.IntRange(1, 8).Draw(rt, "steps") {
			if step > 0 {
				before := s.Index()
				storetest.Update(t, s, func(tx *store.Tx) {
					id := rapid.SampledFrom([]string{"t1", "t2", "t3"}).Draw(rt, "task")
					switch rapid.IntRange(0, 4).Draw(rt, "what") {
					case 0:
						if store.Tasks.Get(tx, id) != nil {
							store.Tasks.Delete(tx, id)
						}
					case 1:
						n := *store.Nodes.Get(tx, "n2")
						n.Number = uint16(rapid.IntRange(2, 3).Draw(rt, "number"))
						store.Nodes.Put(tx, &n)
					case 2:
						n := *store.Nodes.Get(tx, "n2")
						n.Status.State = rapid.SampledFrom([]swarm.NodeState{swarm.NodeStateReady, swarm.NodeStateDown}).Draw(rt, "node's state")
						store.Nodes.Put(tx, &n)
					case 3:
						svc := *store.Services.Get(tx, "svc")
						svc.Spec.Name = rapid.SampledFrom([]string{"web", "other"}).Draw(rt, "name")
						store.Services.Put(tx, &svc)
					default:
						state := rapid.SampledFrom([]swarm.TaskState{swarm.TaskStateAssigned, swarm.TaskStateRunning, swarm.TaskStateFailed}).Draw(rt, "state")
						store.Tasks.Put(tx, web(id, rapid.SampledFrom([]string{"n1", "n2"}).Draw(rt, "node"), state, swarm.TaskStateRunning))
					}
				})
				if s.Index() == before {
					continue
				}
				for e, err := range s.Watch(t.Context(), before) {
					if err != nil {
						rt.Fatal(err)
					}
					touched.event(s.View(), e)
					break
				}
				c := touched.take()
				w = w.next(s.View(), s.Index(), &c, touched.published)
				if rapid.IntRange(0, 2).Draw(rt, "nobody looks") == 0 {
					continue
				}
			}
			opts := []cmp.Option{
				cmpopts.EquateEmpty(), cmpopts.EquateComparable(netip.Addr{}, netip.Prefix{}), cmpopts.IgnoreFields(cluster.NetworkState{}, "Index"),
				cmpopts.SortSlices(func(x, y cluster.NetworkLink) bool { return x.ID < y.ID }),
			}
			for _, id := range []string{"net", "ing"} {
				if diff := cmp.Diff(Link(s.View(), id), w.link(id).get(), opts...); diff != "" {
					rt.Fatalf("step %d: network %s: %s", step, id, diff)
				}
			}
			if diff := cmp.Diff(Ports(s.View(), meshed(s.View()), "ing"), w.ports.get(), opts...); diff != "" {
				rt.Fatalf("step %d: ports: %s", step, diff)
			}
			a, _, err := whole.update(w, "n1")
			if err != nil {
				rt.Fatal(err)
			}
			b, _, err := changed.update(w, "n1")
			if err != nil {
				rt.Fatal(err)
			}
			if a != nil && a.Network != nil {
				want = *a.Network
			}
			if b != nil && b.Network != nil {
				got = *b.Network
			}
			if b != nil && b.Change != nil {
				if got, err = got.With(*b.Change); err != nil {
					rt.Fatal(err)
				}
			}
			if diff := cmp.Diff(want, got, opts...); diff != "" {
				rt.Fatalf("step %d: %s", step, diff)
			}
		}
	})
}
