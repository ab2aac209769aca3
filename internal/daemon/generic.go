package daemon

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/moby/moby/api/types/swarm"
)

// genericResources reads what --node-generic-resource says: KIND=NUMBER, or KIND=NAME for each single thing, several of
// them parted by commas. One kind is either counted or named.
func genericResources(flags []string) ([]swarm.GenericResource, error) {
	var out []swarm.GenericResource
	counted := map[string]bool{}
	named := map[[2]string]bool{}
	for _, flag := range flags {
		for term := range strings.SplitSeq(flag, ",") {
			kind, value, ok := strings.Cut(strings.TrimSpace(term), "=")
			if !ok || kind == "" || value == "" {
				return nil, fmt.Errorf("--node-generic-resource %q: want KIND=VALUE", flag)
			}
			n, err := strconv.ParseInt(value, 10, 64)
			number := err == nil
			if was, seen := counted[kind]; seen && (number || was) {
				return nil, fmt.Errorf("--node-generic-resource %q: %s is given more than once: give one number, or a name for each", flag, kind)
			}
			counted[kind] = number
			switch {
			case number && n < 0:
				return nil, fmt.Errorf("--node-generic-resource %q: the number must not be negative", flag)
			case number:
				out = append(out, swarm.GenericResource{DiscreteResourceSpec: &swarm.DiscreteGenericResource{Kind: kind, Value: n}})
			case named[[2]string{kind, value}]:
				return nil, fmt.Errorf("--node-generic-resource %q: %s is given twice", flag, term)
			default:
				named[[2]string{kind, value}] = true
				out = append(out, swarm.GenericResource{NamedResourceSpec: &swarm.NamedGenericResource{Kind: kind, Value: value}})
			}
		}
	}
	return out, nil
}
