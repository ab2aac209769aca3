// Package controlplane holds the verbs on the swarm's objects: create a service, promote a node, rotate a token.
//
// A verb checks what it was given the way Docker does and with Docker's sentences, before anything is stored, and then
// makes one store transaction: names, references, versions and allocations are read and written on the same state, so
// two callers cannot both win. Listings join what the store keeps apart (a task and its interned spec, a service and
// its task counts) into the API's types.
//
// The package never places a task, starts one or waits for one: it writes what is wanted, and the manager's passes do
// the rest. It works on the leader only; on a follower the writing verbs return [store.ErrNotLeader]. Errors carry
// classes of containerd/errdefs, which internal/api maps to HTTP.
//
//	id, err := control.CreateService(ctx, spec, registryAuth)
package controlplane
