package schedule

import (
	"net/netip"
	"strings"

	"github.com/containerd/errdefs"

	"shoal/internal/cluster"
)

// Constraint is one parsed placement constraint.
type Constraint struct {
	Key, Value string
	Equal      bool // == and not !=
}

// Constraints must all be met.
type Constraints []Constraint

// ParseConstraints reads expressions such as "node.labels.zone != b". Keys and operators are checked, values only for
// their characters: a value that no node has is no error. The errors are of class InvalidArgument.
func ParseConstraints(exprs []string) (Constraints, error) {
	out := make(Constraints, 0, len(exprs))
	for _, expr := range exprs {
		c, err := parse(expr)
		if err != nil {
			return nil, err
		}
		out = append(out, c)
	}
	return out, nil
}

func parse(expr string) (Constraint, error) {
	refuse := func(format string, args ...any) (Constraint, error) {
		return Constraint{}, cluster.Errorf(errdefs.ErrInvalidArgument, format, args...)
	}
	at, equal := strings.Index(expr, "=="), true
	if ne := strings.Index(expr, "!="); at < 0 || ne >= 0 && ne < at {
		at, equal = ne, false
	}
	if at < 0 {
		return refuse("constraint expected one operator from ==, !=")
	}
	key, value := strings.TrimSpace(expr[:at]), strings.TrimSpace(expr[at+2:])
	switch {
	case key == "":
		return refuse("invalid expression '%s': no key before the operator", expr)
	case !all(key, isKeyByte):
		return refuse("key '%s' is invalid", key)
	case value == "":
		return refuse("value '%s' is invalid", value)
	case !all(value, isValueByte):
		return refuse("value '%s' is invalid", value)
	case !known(key):
		return refuse("invalid expression '%s': unknown key '%s'", expr, key)
	}
	if strings.EqualFold(key, "node.ip") {
		if _, _, ok := address(value); !ok {
			return refuse("invalid expression '%s': '%s' is no IP address or subnet", expr, value)
		}
	}
	return Constraint{Key: key, Value: value, Equal: equal}, nil
}

func all(s string, ok func(byte) bool) bool {
	for i := range len(s) {
		if !ok(s[i]) {
			return false
		}
	}
	return true
}

func alphanumeric(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
}

func isKeyByte(c byte) bool { return alphanumeric(c) || strings.IndexByte("_-./", c) >= 0 }

// isValueByte allows printable ASCII.
func isValueByte(c byte) bool { return c >= ' ' && c <= '~' }

const (
	nodeLabels   = "node.labels."
	engineLabels = "engine.labels."
)

func known(key string) bool {
	switch strings.ToLower(key) {
	case "node.id", "node.hostname", "node.ip", "node.role", "node.platform.os", "node.platform.arch":
		return true
	}
	_, node := cutPrefixFold(key, nodeLabels)
	_, engine := cutPrefixFold(key, engineLabels)
	return node || engine
}

// cutPrefixFold is strings.CutPrefix without regard to case; something must follow the prefix.
func cutPrefixFold(s, prefix string) (string, bool) {
	if len(s) <= len(prefix) || !strings.EqualFold(s[:len(prefix)], prefix) {
		return s, false
	}
	return s[len(prefix):], true
}

// Match says whether a node meets all constraints.
func (cs Constraints) Match(n *cluster.Node) bool {
	for i := range cs {
		if !cs[i].match(n) {
			return false
		}
	}
	return true
}

func (c *Constraint) match(n *cluster.Node) bool {
	switch strings.ToLower(c.Key) {
	case "node.id":
		return glob(c.Value, n.ID) == c.Equal
	case "node.hostname":
		return glob(c.Value, n.Description.Hostname) == c.Equal
	case "node.ip":
		return c.matchIP(n) == c.Equal
	case "node.role":
		return glob(c.Value, string(n.Spec.Role)) == c.Equal
	case "node.platform.os":
		return glob(c.Value, n.Description.Platform.OS) == c.Equal
	case "node.platform.arch":
		return (glob(c.Value, n.Description.Platform.Architecture) || normalArch(c.Value) == normalArch(n.Description.Platform.Architecture)) == c.Equal
	}
	if label, ok := cutPrefixFold(c.Key, nodeLabels); ok {
		return glob(c.Value, n.Spec.Labels[label]) == c.Equal
	}
	label, _ := cutPrefixFold(c.Key, engineLabels)
	return glob(c.Value, n.Description.Engine.Labels[label]) == c.Equal
}

func (c *Constraint) matchIP(n *cluster.Node) bool {
	have, err := netip.ParseAddr(n.Status.Addr)
	if err != nil {
		return false
	}
	addr, subnet, _ := address(c.Value)
	return addr == have.Unmap() || subnet.IsValid() && subnet.Contains(have.Unmap())
}

func address(s string) (netip.Addr, netip.Prefix, bool) {
	if a, err := netip.ParseAddr(s); err == nil {
		return a.Unmap(), netip.Prefix{}, true
	}
	p, err := netip.ParsePrefix(s)
	return netip.Addr{}, p, err == nil
}

// glob matches without regard to case; '*' stands for any run of characters.
func glob(pattern, s string) bool {
	first, rest, star := strings.Cut(pattern, "*")
	if !star {
		return strings.EqualFold(pattern, s)
	}
	s = strings.ToLower(s)
	s, ok := strings.CutPrefix(s, strings.ToLower(first))
	if !ok {
		return false
	}
	parts := strings.Split(strings.ToLower(rest), "*")
	last := parts[len(parts)-1]
	for _, part := range parts[:len(parts)-1] {
		at := strings.Index(s, part)
		if at < 0 {
			return false
		}
		s = s[at+len(part):]
	}
	return strings.HasSuffix(s, last)
}
