package network

import "shoal/internal/cluster"

// endFlows ends the connections to endpoints that left with their node.
func (n *Network) endFlows(before map[string]*cluster.NetworkLink) {}
