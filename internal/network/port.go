package network

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/containerd/errdefs"
	api "github.com/moby/moby/api/types/network"
	"github.com/moby/moby/api/types/swarm"
	"golang.org/x/sys/unix"

	"shoal/internal/cluster"
	"shoal/internal/network/plan"
)

// The range that ports are chosen from, Linux's own for clients.
const firstDynamic, lastDynamic = 32768, 60999

type claim struct {
	proto api.IPProtocol
	port  uint32
}

// claimPorts books the box's published ports on this node.
func (n *Network) claimPorts(b *box) error {
	taken := map[claim][]netip.Addr{}
	for _, other := range n.boxes {
		for i, p := range other.Bound {
			c := claim{p.Protocol, p.PublishedPort}
			taken[c] = append(taken[c], bindOf(other.Bind, i))
		}
	}
	for _, p := range n.state.Ports {
		c := claim{protocolOf(p.Config), p.Config.PublishedPort}
		taken[c] = append(taken[c], netip.Addr{})
	}
	b.Bound = nil
	for i, p := range b.Ports {
		p.Protocol = protocolOf(p)
		bind := bindOf(b.Bind, i)
		if p.PublishedPort == 0 {
			p.PublishedPort = freePort(p.Protocol, bind, taken)
			if p.PublishedPort == 0 {
				return cluster.Errorf(errdefs.ErrResourceExhausted, "no free port on this node between %d and %d", firstDynamic, lastDynamic)
			}
		} else if err := portFree(p.Protocol, p.PublishedPort, bind, taken); err != nil {
			return err
		}
		c := claim{p.Protocol, p.PublishedPort}
		taken[c] = append(taken[c], bind)
		b.Bound = append(b.Bound, p)
	}
	return nil
}

func bindOf(list []netip.Addr, i int) netip.Addr {
	if i < len(list) && !list[i].IsUnspecified() {
		return list[i]
	}
	return netip.Addr{}
}

func protocolOf(p swarm.PortConfig) api.IPProtocol {
	if p.Protocol == "" {
		return api.TCP
	}
	return p.Protocol
}

func portFree(proto api.IPProtocol, port uint32, bind netip.Addr, taken map[claim][]netip.Addr) error {
	where := "0.0.0.0"
	if bind.IsValid() {
		where = bind.String()
	}
	where = net.JoinHostPort(where, fmt.Sprint(port))
	for _, other := range taken[claim{proto, port}] {
		if !other.IsValid() || !bind.IsValid() || other == bind {
			return cluster.Errorf(errdefs.ErrUnknown, "driver failed programming external connectivity on endpoint: Bind for %s failed: port is already allocated", where)
		}
	}
	if err := tryBind(proto, port, bind); errors.Is(err, unix.EADDRINUSE) {
		return cluster.Errorf(errdefs.ErrUnknown, "driver failed programming external connectivity on endpoint: failed to bind host port for %s/%s: address already in use", where, proto)
	}
	return nil
}

// tryBind finds out whether a process of the node has the port: ours would shadow it.
func tryBind(proto api.IPProtocol, port uint32, bind netip.Addr) error {
	host := ""
	if bind.IsValid() {
		host = bind.String()
	}
	address := net.JoinHostPort(host, fmt.Sprint(port))
	var lc net.ListenConfig
	switch proto {
	case api.UDP:
		c, err := lc.ListenPacket(context.Background(), "udp", address)
		if err != nil {
			return err
		}
		return c.Close()
	case api.TCP:
		l, err := lc.Listen(context.Background(), "tcp", address)
		if err != nil {
			return err
		}
		return l.Close()
	}
	return nil
}

func freePort(proto api.IPProtocol, bind netip.Addr, taken map[claim][]netip.Addr) uint32 {
	for port := uint32(firstDynamic); port <= lastDynamic; port++ {
		if len(taken[claim{proto, port}]) == 0 && portFree(proto, port, bind, taken) == nil {
			return port
		}
	}
	return 0
}

// hostPorts are all boxes' ports, each leading to the address that its default route leaves by.
func (n *Network) hostPorts() (out []plan.HostPort) {
	for _, b := range n.inOrder() {
		var target []netip.Addr
		for _, p := range b.Places {
			if p.Default {
				for _, a := range p.Addresses {
					target = append(target, a.Addr())
				}
			}
		}
		for i, p := range b.Bound {
			out = append(out, plan.HostPort{
				Proto: string(p.Protocol), Published: uint16(p.PublishedPort), Bind: bindOf(b.Bind, i),
				Target: target, Port: uint16(p.TargetPort),
			})
		}
	}
	return out
}
