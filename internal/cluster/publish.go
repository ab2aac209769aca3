package cluster

import (
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/containerd/errdefs"
)

// A service's label shoal.publish.PORT.address limits a published port of the routing mesh to addresses of the nodes:
// addresses, CIDRs and names of interfaces, parted by commas.
const (
	publishPrefix = "shoal.publish."
	publishSuffix = ".address"
)

// Bind limits a published port to addresses of the node that lie in one of Prefixes or are of one of the interfaces Links.
// The zero value limits nothing.
type Bind struct {
	Prefixes []netip.Prefix `json:",omitempty"`
	Links    []string       `json:",omitempty"`
}

// Limits says whether the port answers on some of the node's addresses alone.
func (b Bind) Limits() bool { return len(b.Prefixes)+len(b.Links) > 0 }

// Has says whether a port so limited answers on an address, which is of the interface link.
func (b Bind) Has(a netip.Addr, link string) bool {
	return slices.ContainsFunc(b.Prefixes, func(p netip.Prefix) bool { return p.Contains(a) }) || slices.Contains(b.Links, link)
}

// Equal says whether two limits say the same in the same order.
func (b Bind) Equal(o Bind) bool {
	return slices.Equal(b.Prefixes, o.Prefixes) && slices.Equal(b.Links, o.Links)
}

// PublishedOn reads those labels: for each published port that has one, the addresses that it answers on.
// ErrInvalidArgument for a label of this kind that cannot be read.
func PublishedOn(labels map[string]string) (map[uint32]Bind, error) {
	var out map[uint32]Bind
	for label, value := range labels {
		rest, ours := strings.CutPrefix(label, publishPrefix)
		number, ours2 := strings.CutSuffix(rest, publishSuffix)
		if !ours || !ours2 {
			continue
		}
		port, err := strconv.ParseUint(number, 10, 16)
		if err != nil || port == 0 {
			return nil, Errorf(errdefs.ErrInvalidArgument, "label %s: %q is not a port", label, number)
		}
		var on Bind
		for word := range strings.SplitSeq(value, ",") {
			word = strings.TrimSpace(word)
			p, err := netip.ParsePrefix(word)
			if a, e := netip.ParseAddr(word); e == nil && a.Zone() == "" {
				p, err = netip.PrefixFrom(a, a.BitLen()), nil
			}
			switch {
			case err == nil:
				on.Prefixes = append(on.Prefixes, p.Masked())
			case linkName(word):
				on.Links = append(on.Links, word)
			default:
				return nil, Errorf(errdefs.ErrInvalidArgument, "label %s: %q is neither an address nor a CIDR nor the name of an interface", label, word)
			}
		}
		if out == nil {
			out = map[uint32]Bind{}
		}
		out[uint32(port)] = on
	}
	return out, nil
}

// linkName says whether an interface could have this name. Those that do not begin with a letter are taken for addresses that
// were mistyped.
func linkName(s string) bool {
	if s == "" || len(s) > 15 || !letter(s[0]) {
		return false
	}
	return !strings.ContainsFunc(s, func(r rune) bool {
		return !(r < 128 && letter(byte(r)) || '0' <= r && r <= '9' || strings.ContainsRune("-_.@", r))
	})
}

func letter(c byte) bool { return 'a' <= c|0x20 && c|0x20 <= 'z' }
