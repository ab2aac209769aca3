// Package network is one node's data plane: it puts containers into networks and keeps kernel and name server as the
// cluster's network state wants them.
//
// What should be is worked out by package plan (pure), what is there is read and changed by package kernel, and names are
// answered by package dns. This package holds the node's own facts between them: which containers are in which network,
// which addresses and ports of the node they hold. It never decides addresses of swarm networks, which are in the
// cluster's state, and never starts a container.
//
// Every network, the swarm's and the node's own alike, is one network namespace N with a veth per container, one
// resolver on 169.254.1.1 and one uplink to the host; only VXLAN is added for those that span nodes. So there is one data
// path to understand. A network is in the kernel only while a container of this node is in it, or, for the ingress
// network, while the mesh has a port.
//
// The kernel's state outlives the process. New reads it back and changes only what differs, so that a restart or a kill
// leaves established connections alone.
package network
