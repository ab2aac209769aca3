package schedule

import (
	"errors"
	"testing"

	"github.com/containerd/errdefs"

	"shoal/internal/cluster"
)

func TestConstraints(t *testing.T) {
	n := node("abc", label("Zone", "Eu-West"), func(n *cluster.Node) {
		n.Description.Engine.Labels = map[string]string{"disk": "ssd"}
	})
	tests := []struct {
		expr string
		want bool
	}{
		{"node.id == abc", true},
		{"node.id!=abc", false},
		{"node.hostname==HOST-ABC", true},
		{"node.hostname == host-*", true},
		{"node.hostname == *a*c", true},
		{"node.hostname == *x*", false},
		{"node.hostname != h*c", false},
		{"node.ip == 10.1.0.7", true},
		{"node.ip == 10.1.0.0/16", true},
		{"node.ip != 10.2.0.0/16", true},
		{"node.ip == 10.1.0.8", false},
		{"node.role == worker", true},
		{"node.role != manager", true},
		{"node.platform.os == linux", true},
		{"node.platform.arch == amd64", true},
		{"node.platform.arch != x86_64", false},
		{"node.labels.Zone == eu-west", true},
		{"node.labels.missing != x", true},
		{"node.labels.missing == x", false},
		{"engine.labels.disk == ssd", true},
		{"ENGINE.labels.disk != hdd", true},
	}
	for _, tt := range tests {
		cs, err := ParseConstraints([]string{tt.expr})
		if err != nil {
			t.Errorf("%s: %v", tt.expr, err)
		} else if got := cs.Match(n); got != tt.want {
			t.Errorf("%s: %v, want %v", tt.expr, got, tt.want)
		}
	}
}

func TestParseConstraintsRefuses(t *testing.T) {
	tests := map[string]string{
		"node.role":             "constraint expected one operator from ==, !=",
		"node.role = manager":   "constraint expected one operator from ==, !=",
		"node.role > manager":   "constraint expected one operator from ==, !=",
		"== x":                  "invalid expression '== x': no key before the operator",
		"node role == x":        "key 'node role' is invalid",
		"node.role ==":          "value '' is invalid",
		"node.color == red":     "invalid expression 'node.color == red': unknown key 'node.color'",
		"node.labels. == red":   "invalid expression 'node.labels. == red': unknown key 'node.labels.'",
		"node.ip == 10.1.0.999": "invalid expression 'node.ip == 10.1.0.999': '10.1.0.999' is no IP address or subnet",
	}
	for expr, want := range tests {
		_, err := ParseConstraints([]string{expr})
		if err == nil || err.Error() != want {
			t.Errorf("%q: %v, want %s", expr, err, want)
		}
		if !errors.Is(err, errdefs.ErrInvalidArgument) {
			t.Errorf("%q: not InvalidArgument", expr)
		}
	}
}

// What parses has a key, a value and an answer for any node, and says the same when written out and read again.
func FuzzParseConstraints(f *testing.F) {
	for _, s := range []string{"node.id == x", "node.labels.a!=b*c", "node.ip==::1", "a=b", "engine.labels.x == =="} {
		f.Add(s)
	}
	n := node("abc", label("a", "b"))
	f.Fuzz(func(t *testing.T, expr string) {
		cs, err := ParseConstraints([]string{expr})
		if err != nil {
			return
		}
		op := "!="
		if cs[0].Equal {
			op = "=="
		}
		again, err := ParseConstraints([]string{cs[0].Key + op + cs[0].Value})
		if err != nil || again[0] != cs[0] {
			t.Fatalf("%q: %v read again as %v (%v)", expr, cs, again, err)
		}
		opposite := Constraints{{Key: cs[0].Key, Value: cs[0].Value, Equal: !cs[0].Equal}}
		if cs.Match(n) == opposite.Match(n) {
			t.Fatalf("%q and its opposite agree", expr)
		}
	})
}
