// Package daemon is the composition root of a node: it turns flags into parts, starts them in order, wires what one part needs
// of another, and ends them in the opposite order. It also leads the node's life in a swarm: init, join, unlock, the change of
// role while running, and leave.
//
// It decides nothing about services, placement or containers; those decisions lie in the parts. Nothing but the CLI imports it.
// Containers are not its children: they and containerd go on when the daemon ends, is killed, or is replaced by a newer one.
package daemon
