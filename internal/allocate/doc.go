// Package allocate gives out what must be unique in the cluster: VNIs and subnets of networks, virtual IPs and
// published ports of services, addresses of tasks, numbers of nodes.
//
// [State] is built from the stored objects and has no memory of its own that may not be lost: it may be kept between
// passes as a cache, told of changes by the Add and Release methods, and dropped and built anew at any time. Every
// allocation is booked in it and must be committed with the object it is for, or released again.
//
// An address that was just freed is not handed out again at once where there is room: a pool is searched from behind
// the last address it gave (after a rebuild: behind the highest in use), then from its start.
//
// The package is pure, and keeps to the order it is called in: the same calls give the same addresses.
package allocate
