package cluster

import (
	"net/netip"
	"strconv"
	"strings"

	"github.com/containerd/errdefs"
)

// A service's label shoal.publish.PORT.address limits a published port of the routing mesh to addresses of the nodes:
// addresses and CIDRs, parted by commas.
const (
	publishPrefix = "shoal.publish."
	publishSuffix = ".address"
)

// PublishedOn reads those labels: for each published port that has one, the addresses that it answers on.
// ErrInvalidArgument for a label of this kind that cannot be read.
func PublishedOn(labels map[string]string) (map[uint32][]netip.Prefix, error) {
	var out map[uint32][]netip.Prefix
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
		var on []netip.Prefix
		for word := range strings.SplitSeq(value, ",") {
			word = strings.TrimSpace(word)
			p, err := netip.ParsePrefix(word)
			if a, e := netip.ParseAddr(word); e == nil {
				p, err = netip.PrefixFrom(a, a.BitLen()), nil
			}
			if err != nil || p.Addr().Zone() != "" {
				return nil, Errorf(errdefs.ErrInvalidArgument, "label %s: %q is neither an address nor a CIDR", label, word)
			}
			on = append(on, p.Masked())
		}
		if out == nil {
			out = map[uint32][]netip.Prefix{}
		}
		out[uint32(port)] = on
	}
	return out, nil
}
