package sim

import (
	"fmt"

	"github.com/moby/moby/api/types/swarm"

	"shoal/internal/cluster"
)

// holdings are the addresses and ports that an object has.
func holdings(o any) (id string, list []string) {
	switch o := o.(type) {
	case *cluster.Task:
		if o == nil || cluster.Terminal(o.Status.State) {
			return "", nil
		}
		id = o.ID
		for _, a := range o.Attachments {
			for _, p := range a.Addresses {
				list = append(list, "address "+p.Addr().String()+" of network "+a.NetworkID)
			}
		}
		for _, p := range o.Ports {
			if p.PublishedPort != 0 && cluster.Rank(o.Status.State) >= cluster.Rank(swarm.TaskStateAssigned) {
				list = append(list, fmt.Sprintf("port %d/%s of node %s", p.PublishedPort, p.Protocol, o.NodeID))
				id = slotOf(o) // the next task of a slot may be given it, as it waits for the one before to end
			}
		}
	case *cluster.Service:
		if o == nil {
			return "", nil
		}
		id = o.ID
		for _, v := range o.Endpoint.VirtualIPs {
			if v.Addr.IsValid() {
				list = append(list, "address "+v.Addr.Addr().String()+" of network "+v.NetworkID)
			}
		}
		for _, p := range o.Endpoint.Ports {
			if p.PublishedPort != 0 && p.PublishMode != swarm.PortConfigPublishModeHost {
				list = append(list, fmt.Sprintf("port %d/%s of the mesh", p.PublishedPort, p.Protocol))
			}
		}
	}
	return id, list
}

func slotOf(t *cluster.Task) string {
	if t.Slot == 0 {
		return t.ServiceName + "." + t.NodeID
	}
	return fmt.Sprintf("%s.%d", t.ServiceName, t.Slot)
}

// release gives back what an object had before a change.
func (r *rules) release(old any) {
	id, list := holdings(old)
	for _, what := range list {
		if r.owners[what] == id {
			delete(r.owners, what)
		}
	}
}

// claim holds that nothing has two owners.
func (r *rules) claim(now any) {
	id, list := holdings(now)
	for _, what := range list {
		if owner := r.owners[what]; owner != "" && owner != id {
			r.w.fail("%s belongs to %s and to %s", what, owner, id)
		}
		r.owners[what] = id
	}
}
