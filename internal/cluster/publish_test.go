package cluster_test

import (
	"fmt"
	"testing"

	"shoal/internal/cluster"
)

func TestPublishedOn(t *testing.T) {
	for _, tt := range []struct{ label, value, want, err string }{
		{"shoal.publish.8080.address", "10.0.0.1", "map[8080:{[10.0.0.1/32] []}]", ""},
		{"shoal.publish.8080.address", "10.0.0.9/24, fd00::1", "map[8080:{[10.0.0.0/24 fd00::1/128] []}]", ""},
		{"shoal.publish.8080.other", "x", "map[]", ""},
		{"shoal.drain", "2s", "map[]", ""},
		{"shoal.publish.web.address", "10.0.0.1", "map[]", `label shoal.publish.web.address: "web" is not a port`},
		{"shoal.publish.80.address", "eth0,10.0.0.1, wg-home.7", "map[80:{[10.0.0.1/32] [eth0 wg-home.7]}]", ""},
		{"shoal.publish.80.address", "10.0.0.300", "map[]", `label shoal.publish.80.address: "10.0.0.300" is neither an address nor a CIDR nor the name of an interface`},
		{"shoal.publish.80.address", "fe80::1%eth0", "map[]", `label shoal.publish.80.address: "fe80::1%eth0" is neither an address nor a CIDR nor the name of an interface`},
		{"shoal.publish.80.address", "eth0/24", "map[]", `label shoal.publish.80.address: "eth0/24" is neither an address nor a CIDR nor the name of an interface`},
		{"shoal.publish.80.address", "", "map[]", `label shoal.publish.80.address: "" is neither an address nor a CIDR nor the name of an interface`},
	} {
		got, err := cluster.PublishedOn(map[string]string{tt.label: tt.value})
		text := ""
		if err != nil {
			text = err.Error()
		}
		if fmt.Sprint(got) != tt.want || text != tt.err {
			t.Errorf("%s=%s: %v, %q; want %s, %q", tt.label, tt.value, got, text, tt.want, tt.err)
		}
	}
}
