package schedule

import (
	"strings"

	"github.com/moby/moby/api/types/swarm"

	"shoal/internal/cluster"
)

// normalArch gives one name to what uname and Go call differently.
func normalArch(arch string) string {
	switch a := strings.ToLower(arch); a {
	case "x86_64", "x86-64":
		return "amd64"
	case "aarch64":
		return "arm64"
	case "armhf", "armel", "armv7l", "armv6l":
		return "arm"
	case "i386", "i686":
		return "386"
	default:
		return a
	}
}

// supported says whether a node can run one of the platforms; no platforms: it can. An image without a platform's part
// runs on any.
func supported(platforms []swarm.Platform, n *cluster.Node) bool {
	if len(platforms) == 0 {
		return true
	}
	have := n.Description.Platform
	for _, want := range platforms {
		if (want.OS == "" || strings.EqualFold(want.OS, have.OS)) &&
			(want.Architecture == "" || normalArch(want.Architecture) == normalArch(have.Architecture)) {
			return true
		}
	}
	return false
}

// Matcher is [Fits] with the constraints of spec parsed once. Constraints that do not parse are met by no node.
func Matcher(spec *cluster.Spec) func(*cluster.Node) bool {
	placement := spec.Task.Placement
	if placement == nil || len(placement.Constraints)+len(placement.Platforms) == 0 {
		return func(*cluster.Node) bool { return true }
	}
	cs, err := ParseConstraints(placement.Constraints)
	if err != nil {
		return func(*cluster.Node) bool { return false }
	}
	return func(n *cluster.Node) bool { return cs.Match(n) && supported(placement.Platforms, n) }
}

// Fits says whether spec's placement constraints and platforms allow node, whatever its state and load.
func Fits(spec *cluster.Spec, node *cluster.Node) bool { return Matcher(spec)(node) }
