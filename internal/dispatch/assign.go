package dispatch

import (
	"maps"
	"slices"

	"github.com/moby/moby/api/types/swarm"

	"shoal/internal/cluster"
	"shoal/internal/store"
)

// Set is what one node should hold, all in the order of IDs. The objects are the store's: do not change them.
type Set struct {
	// Tasks are all tasks of the node that the store has, ended ones too: their containers stay until the task goes.
	Tasks   []*cluster.Task
	Secrets []*cluster.Secret // that tasks which have not ended need
	Configs []*cluster.Config
	// Networks are the IDs of the networks that the node's tasks which have not ended are in.
	Networks []string
}

// Assignments says what a node should hold. It is a pure function of the state.
func Assignments(r store.Reader, nodeID string) Set {
	var set Set
	secrets, configs, networks := map[string]bool{}, map[string]bool{}, map[string]bool{}
	for t := range store.Tasks.By(r, store.TaskNode, nodeID) {
		if cluster.Rank(t.Status.State) < cluster.Rank(swarm.TaskStateAssigned) {
			continue // bound, but not yet given to the node
		}
		if !t.Attached() { // the node has the container of an attachment before the store knows of it
			set.Tasks = append(set.Tasks, t)
		}
		if cluster.Terminal(t.Status.State) {
			continue
		}
		for _, a := range t.Attachments {
			networks[a.NetworkID] = true
		}
		if spec := store.Specs.Get(r, t.SpecID); spec != nil {
			references(&spec.Task, secrets, configs)
		}
	}
	for _, id := range slices.Sorted(maps.Keys(secrets)) {
		if s := store.Secrets.Get(r, id); s != nil {
			set.Secrets = append(set.Secrets, s)
		}
	}
	for _, id := range slices.Sorted(maps.Keys(configs)) {
		if c := store.Configs.Get(r, id); c != nil {
			set.Configs = append(set.Configs, c)
		}
	}
	set.Networks = slices.Sorted(maps.Keys(networks))
	return set
}

// references adds the secrets and configs that a spec names.
func references(spec *swarm.TaskSpec, secrets, configs map[string]bool) {
	c := spec.ContainerSpec
	if c == nil {
		return
	}
	for _, ref := range c.Secrets {
		if ref != nil {
			secrets[ref.SecretID] = true
		}
	}
	for _, ref := range c.Configs {
		if ref != nil {
			configs[ref.ConfigID] = true
		}
	}
	if c.Privileges != nil && c.Privileges.CredentialSpec != nil && c.Privileges.CredentialSpec.Config != "" {
		configs[c.Privileges.CredentialSpec.Config] = true
	}
}

// assignment is a task with all that its node needs to run it; an ended one needs nothing more.
func assignment(r store.Reader, t *cluster.Task, service *cluster.Service) cluster.Assignment {
	a := cluster.Assignment{Task: *t}
	if cluster.Terminal(t.Status.State) {
		return a
	}
	if spec := store.Specs.Get(r, t.SpecID); spec != nil {
		a.Spec, a.RegistryAuth = spec.Task, spec.RegistryAuth
	}
	if service != nil {
		a.ServiceLabels = service.Spec.Labels
	}
	a.Task.Attachments = nodeNetworks(r, t.Attachments)
	return a
}

// nodeNetworks names the networks that every node has of its own (host, none, bridge) as nodes know them: by name.
func nodeNetworks(r store.Reader, attachments []cluster.Attachment) []cluster.Attachment {
	out := slices.Clone(attachments)
	for i := range out {
		if n := store.Networks.Get(r, out[i].NetworkID); n != nil && n.Predefined() {
			out[i].NetworkID = n.Spec.Name
		}
	}
	return out
}

// sameWork says whether two states of a task differ in nothing that its node must know: the node's own reports do not
// come back to it.
func sameWork(a, b *cluster.Task) bool {
	if a == b {
		return true
	}
	return a.NodeID == b.NodeID && a.DesiredState == b.DesiredState && a.SpecID == b.SpecID &&
		a.ServiceID == b.ServiceID && a.Slot == b.Slot && a.LeftIndex == b.LeftIndex &&
		slices.EqualFunc(a.Attachments, b.Attachments, sameAttachment) &&
		slices.Equal(a.Ports, b.Ports) && len(a.Generic) == len(b.Generic)
}

func sameAttachment(a, b cluster.Attachment) bool {
	return a.NetworkID == b.NetworkID && slices.Equal(a.Addresses, b.Addresses) && slices.Equal(a.Aliases, b.Aliases)
}
