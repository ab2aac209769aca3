package plan

import (
	"fmt"
	"net/netip"
	"strings"
)

// Op is one change of the kernel. It prints as the ip(8), bridge(8), sysctl(8) or nft(8) line it stands for, behind the
// namespace it is done in.
type Op struct {
	NS     NS
	Delete bool
	Item   fmt.Stringer
}

// The things that an Op adds, replaces or deletes.
type (
	Pin      struct{}
	LinkItem struct {
		Name string
		Link
	}
	RouteItem struct {
		Dst
		Route
	}
	NeighItem struct {
		Neigh
		MAC MAC
	}
	FDBItem struct {
		Bridge
		To netip.Addr
	}
	Sysctl  struct{ Path, Value string }
	SetItem struct {
		Table TableID
		Name  string
		*Set
	}
	ChainItem struct {
		Table TableID
		Name  string
		*Chain
	}
	// Flush empties a chain of its rules.
	Flush    ChainItem
	RuleItem struct {
		Table TableID
		Chain string
		RuleText
	}
	Element struct {
		Table      TableID
		Name       string
		Set        *Set
		Key, Value string
	}
)

func (o Op) String() string {
	where := "host: "
	if o.NS != HostNS {
		where = string(o.NS) + ": "
	}
	verb := "add"
	if o.Delete {
		verb = "delete"
	}
	switch item := o.Item.(type) {
	case Pin:
		return "ip netns " + verb + " " + string(o.NS)
	case Sysctl, Flush:
		return where + item.String()
	case PeerItem, AllowedItem:
		return where + tunnelOp(o)
	case LinkItem:
		if o.Delete {
			return where + "ip link delete " + item.Name
		}
		if item.Kind == Peer || item.Kind == Loopback {
			return where + "ip link set " + item.String()
		}
	case RouteItem, NeighItem:
		if !o.Delete {
			verb = "replace"
		}
	}
	tool, rest, _ := strings.Cut(o.Item.String(), " ")
	if tool == "nft" {
		return where + tool + " " + verb + " " + rest
	}
	object, rest, _ := strings.Cut(rest, " ")
	return where + tool + " " + object + " " + verb + " " + rest
}

func (Pin) String() string { return "netns" }

func (l LinkItem) String() string {
	switch l.Kind {
	case Loopback:
		return l.Name + " up"
	case Peer:
		return fmt.Sprintf("%s address %s mtu %d up", l.Name, l.MAC, l.MTU)
	case WireGuard:
		return fmt.Sprintf("ip link %s mtu %d type wireguard", l.Name, l.MTU)
	case VXLAN:
		return fmt.Sprintf("ip link %s address %s mtu %d type vxlan id %d local %s dstport 4789 nolearning", l.Name, l.MAC, l.MTU, l.VNI, l.Local)
	}
	return fmt.Sprintf("ip link %s address %s mtu %d type veth peer %s netns %q", l.Name, l.MAC, l.MTU, l.PeerName, l.PeerNS)
}

func (a Addr) String() string {
	s := fmt.Sprintf("ip addr %s dev %s", a.Prefix, a.Link)
	if a.NoRoute {
		s += " noprefixroute"
	}
	return s
}

func (r RouteItem) String() string {
	s := "ip route "
	if r.Local {
		s += "local "
	}
	s += r.Prefix.String()
	if r.Via.IsValid() {
		s += " via " + r.Via.String()
	}
	s += " dev " + r.Link
	if r.Via.IsValid() {
		s += " onlink"
	}
	if r.Src.IsValid() {
		s += " src " + r.Src.String()
	}
	if r.Table != 0 {
		s += fmt.Sprintf(" table %d", r.Table)
	}
	return s
}

func (r Rule) String() string {
	s := fmt.Sprintf("ip rule fwmark %#x/%#x lookup %d", r.Mark, r.Mask, r.Table)
	if r.V6 {
		s += " family inet6"
	}
	return s
}

func (n NeighItem) String() string {
	return fmt.Sprintf("ip neigh %s lladdr %s dev %s nud permanent", n.IP, n.MAC, n.Link)
}

func (f FDBItem) String() string {
	return fmt.Sprintf("bridge fdb %s dev %s dst %s self permanent", f.MAC, f.Link, f.To)
}

func (s Sysctl) String() string { return "sysctl " + s.Path + "=" + s.Value }

func (t TableID) String() string { return "nft table " + t.Family + " " + t.Name }

func (t TableID) words() string { return t.Family + " " + t.Name }

func (s SetItem) String() string {
	word := "set"
	if len(s.Data) > 0 {
		word = "map"
	}
	text := fmt.Sprintf("nft %s %s %s { type %s", word, s.Table.words(), s.Name, typesOf(s.Key))
	if len(s.Data) > 0 {
		text += " : " + typesOf(s.Data)
	}
	return text + " ; }"
}

func typesOf(types []Type) string {
	out := make([]string, len(types))
	for i, t := range types {
		out[i] = string(t)
	}
	return strings.Join(out, " . ")
}

func (c ChainItem) String() string {
	text := "nft chain " + c.Table.words() + " " + c.Name
	if c.Hook == "" {
		return text
	}
	text += " { type " + c.Type + " hook " + c.Hook
	if c.Device != "" {
		text += fmt.Sprintf(" device %q", c.Device)
	}
	return fmt.Sprintf("%s priority %d ; }", text, c.Priority)
}

func (f Flush) String() string { return "nft flush chain " + f.Table.words() + " " + f.Name }

func (r RuleItem) String() string {
	return "nft rule " + r.Table.words() + " " + r.Chain + " " + r.Text
}

func (e Element) String() string {
	text := "nft element " + e.Table.words() + " " + e.Name + " { " + words(e.Set.Key, e.Key)
	if len(e.Set.Data) > 0 {
		text += " : " + words(e.Set.Data, e.Value)
	}
	return text + " }"
}
