package daemon

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/moby/moby/api/types/swarm"
)

func TestGenericResources(t *testing.T) {
	got, err := genericResources([]string{"gpu=a,gpu=b", "gpu=c", "ssd=4"})
	if err != nil {
		t.Fatal(err)
	}
	name := func(v string) swarm.GenericResource {
		return swarm.GenericResource{NamedResourceSpec: &swarm.NamedGenericResource{Kind: "gpu", Value: v}}
	}
	want := []swarm.GenericResource{
		name("a"), name("b"), name("c"),
		{DiscreteResourceSpec: &swarm.DiscreteGenericResource{Kind: "ssd", Value: 4}},
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	for flag, want := range map[string]string{
		"gpu":         "want KIND=VALUE",
		"=a":          "want KIND=VALUE",
		"gpu=":        "want KIND=VALUE",
		"gpu=a,gpu=2": "more than once",
		"gpu=2,gpu=a": "more than once",
		"gpu=2,gpu=2": "more than once",
		"gpu=a,gpu=a": "twice",
		"gpu=-1":      "negative",
	} {
		if _, err := load(t, "", "--node-generic-resource", flag); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", flag, err, want)
		}
	}
	if c, err := load(t, `{"node-generic-resources":["gpu=a","gpu=b"]}`); err != nil || len(c.Generic) != 2 {
		t.Errorf("from the file: %v %v", c.Generic, err)
	}
}
