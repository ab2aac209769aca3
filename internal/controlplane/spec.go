package controlplane

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"

	"github.com/moby/moby/api/types/swarm"

	"shoal/internal/cluster"
	"shoal/internal/store"
)

// SpecID is the digest that names a task template together with its host-mode ports: equal ones have equal IDs, on
// every manager and in every version of the daemon that writes the API's JSON.
func SpecID(task *swarm.TaskSpec, hostPorts []swarm.PortConfig) string {
	body, err := json.Marshal(struct {
		Task  *swarm.TaskSpec
		Ports []swarm.PortConfig `json:",omitempty"`
	}{task, hostPorts})
	if err != nil { // plain data that came from JSON
		panic(fmt.Sprintf("controlplane: encode of a task template: %v", err))
	}
	sum := sha256.Sum256(body)
	return hex.EncodeToString(sum[:])[:32]
}

// intern makes sure that the service spec's task template is stored once and returns its ID. A registry auth that is
// given replaces the one that the stored template has.
func intern(tx *store.Tx, spec *swarm.ServiceSpec, registryAuth string) string {
	ports := hostPorts(spec)
	id := SpecID(&spec.TaskTemplate, ports)
	have := store.Specs.Get(tx, id)
	if have != nil && (registryAuth == "" || have.RegistryAuth == registryAuth) {
		return id
	}
	store.Specs.Put(tx, &cluster.Spec{ID: id, Task: spec.TaskTemplate, HostPorts: ports, RegistryAuth: registryAuth})
	return id
}

// DropUnusedSpec removes an interned spec that no task, Spec or PreviousSpec names any more, and the earlier generations
// of secrets and configs that only it needed; otherwise it does nothing.
// Whoever deletes tasks calls it for their specs in the same transaction.
func DropUnusedSpec(tx *store.Tx, id string) {
	if id == "" {
		return
	}
	defer dropSuperseded(tx, store.Specs.Get(tx, id)) // tasks that have ended keep the spec, but no secret
	for range store.Tasks.By(tx, store.TaskSpec, id) {
		return
	}
	for range store.Services.By(tx, store.ServiceSpec, id) {
		return
	}
	store.Specs.Delete(tx, id)
}
