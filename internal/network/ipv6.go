package network

import (
	"net/netip"
	"slices"

	"shoal/internal/cluster"
)

// onlyIPv4 is a state as a node without IPv6 can hold it. Other nodes' tasks keep their IPv6 addresses; nobody here asks
// for them.
func onlyIPv4(state cluster.NetworkState) cluster.NetworkState {
	state.Networks = slices.Clone(state.Networks)
	for i := range state.Networks {
		l := &state.Networks[i]
		l.Subnets, l.Gateways = without6(l.Subnets, netip.Prefix.Addr), without6(l.Gateways, self)
		l.Endpoints, l.Services = slices.Clone(l.Endpoints), slices.Clone(l.Services)
		for k := range l.Endpoints {
			l.Endpoints[k].Addresses = without6(l.Endpoints[k].Addresses, self)
		}
		for k := range l.Services {
			l.Services[k].Addresses = without6(l.Services[k].Addresses, self)
		}
	}
	return state
}

func self(a netip.Addr) netip.Addr { return a }

func without6[T any](list []T, addr func(T) netip.Addr) []T {
	return slices.DeleteFunc(slices.Clone(list), func(x T) bool { return addr(x).Is6() })
}
