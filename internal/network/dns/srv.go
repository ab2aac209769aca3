package dns

import (
	"cmp"
	"slices"
	"strconv"
	"strings"

	"github.com/miekg/dns"

	"shoal/internal/cluster"
)

// publish notes the ports of a network's services under each of their names.
func (n *Names) publish(link cluster.NetworkLink) {
	for i := range link.Services {
		s := &link.Services[i]
		if len(s.Ports) == 0 {
			continue
		}
		o := offer{owner{ofService, s.ServiceID}, s.Ports}
		for _, name := range append([]string{s.Name}, s.Aliases...) {
			name = strings.ToLower(name)
			n.ports[name] = append(n.without(name, o.owner), o)
		}
	}
}

func (n *Names) withdraw(link cluster.NetworkLink) {
	for i := range link.Services {
		s := &link.Services[i]
		for _, name := range append([]string{s.Name}, s.Aliases...) {
			name = strings.ToLower(name)
			if n.ports[name] = n.without(name, owner{ofService, s.ServiceID}); len(n.ports[name]) == 0 {
				delete(n.ports, name)
			}
		}
	}
}

func (n *Names) without(name string, o owner) []offer {
	return slices.DeleteFunc(n.ports[name], func(f offer) bool { return f.owner == o })
}

// wanted are the ports in the container that a label stands for (RFC 2782): the port's name or number behind an
// underscore, and its protocol.
func (o offer) wanted(port, protocol string) (out []uint16) {
	for _, p := range o.ports {
		number := uint16(p.TargetPort)
		if protocol == cmp.Or(string(p.Protocol), "tcp") && (port == strconv.Itoa(int(number)) || p.Name != "" && port == strings.ToLower(p.Name)) &&
			!slices.Contains(out, number) {
			out = append(out, number)
		}
	}
	return out
}

// Served finds where a service's published port is, asked for as _PORT._PROTOCOL.NAME: by the name of what NAME leads to, the
// virtual address or each of the tasks. No ports: there is no such one. Ours tells whether NAME is in the network at all.
func (n *Names) Served(name string) (targets []string, ports []uint16, ours bool) {
	port, rest, ok := strings.Cut(name, ".")
	protocol, of, more := strings.Cut(rest, ".")
	if !ok || !more || len(port) < 2 || port[0] != '_' || len(protocol) < 2 || protocol[0] != '_' {
		return nil, nil, false
	}
	short, _ := strings.CutPrefix(strings.TrimSuffix(of, n.suffix), "tasks.")
	n.mu.RLock()
	for _, o := range n.ports[short] {
		ports = append(ports, o.wanted(port[1:], protocol[1:])...)
	}
	n.mu.RUnlock()
	if len(ports) == 0 {
		return nil, nil, n.Lookup(of) != nil
	}
	for _, a := range n.Lookup(of) {
		if to, _ := n.Reverse(a); to != "" && !slices.Contains(targets, to) {
			targets = append(targets, to)
		}
	}
	return targets, ports, true
}

// services answers a question for SRV records; nil: it is about no name of ours.
func (a *Asker) services(q *dns.Msg, name string) *dns.Msg {
	var known bool
	for _, n := range a.Networks {
		targets, ports, ours := n.Served(name)
		known = known || ours
		if len(ports) == 0 {
			continue
		}
		reply := new(dns.Msg).SetReply(q)
		reply.RecursionAvailable = true
		for _, to := range targets {
			for _, port := range ports {
				reply.Answer = append(reply.Answer, &dns.SRV{
					Hdr:    dns.RR_Header{Name: q.Question[0].Name, Rrtype: dns.TypeSRV, Class: dns.ClassINET, Ttl: ttl},
					Weight: 1, Port: port, Target: dns.Fqdn(to),
				})
			}
		}
		return reply
	}
	if known {
		return new(dns.Msg).SetRcode(q, dns.RcodeNameError)
	}
	return nil
}
