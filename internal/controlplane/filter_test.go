package controlplane

import (
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/moby/moby/api/types/swarm"
)

func TestParseFilters(t *testing.T) {
	for _, tt := range []struct {
		raw  string
		want Filters // nil with an empty text: refused
		err  string
	}{
		{"", nil, ""},
		{"{}", Filters{}, ""},
		{`{"name":{"b":true,"a":true,"c":false}}`, Filters{"name": {"a", "b"}}, ""},
		{`{"name":["b","a","b"]}`, Filters{"name": {"a", "b"}}, ""},
		{`{"name":[]}`, Filters{}, ""},
		{`{"name":"a"}`, nil, "invalid filter 'name': json: cannot unmarshal string into Go value of type map[string]bool"},
		{`[]`, nil, "invalid filter: json: cannot unmarshal array into Go value of type map[string]jsontext.Value"},
		{`{`, nil, "invalid filter: unexpected end of JSON input"},
	} {
		got, err := ParseFilters(tt.raw)
		if (err != nil) != (tt.err != "") {
			t.Errorf("%s: %v, want %q", tt.raw, err, tt.err)
		}
		if diff := cmp.Diff(tt.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tt.raw, diff)
		}
	}
}

func FuzzParseFilters(f *testing.F) {
	for _, s := range []string{"", "{}", `{"name":{"a":true}}`, `{"name":["a"]}`, `{"a":null}`, `{"a":[null]}`, `[1]`, "\x00"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		got, err := ParseFilters(raw)
		if err != nil {
			return
		}
		for key, values := range got {
			if len(values) == 0 {
				t.Errorf("%q: key %q without values would let nothing through", raw, key)
			}
		}
		if len(got) == 0 {
			return
		}
		again, err := json.Marshal(map[string][]string(got))
		if err != nil {
			t.Fatal(err)
		}
		if twice, err := ParseFilters(string(again)); err != nil || !cmp.Equal(got, twice) {
			t.Errorf("%q read back as %v, %v", again, twice, err)
		}
	})
}

// FuzzServiceSpec feeds what a client may send through defaults and checks: nothing may panic, and what passes must be
// stable, so that the same spec sent twice is the same.
func FuzzServiceSpec(f *testing.F) {
	for _, s := range []string{
		`{}`, `{"Name":"web","TaskTemplate":{"ContainerSpec":{"Image":"a","Secrets":[null],"Configs":[null],"Mounts":[{}],"Ulimits":[null]}}}`,
		`{"Name":"a","Mode":{"ReplicatedJob":{}},"EndpointSpec":{"Ports":[{"TargetPort":1}]},"TaskTemplate":{"ContainerSpec":{"Image":"a"},"Resources":{"Limits":{}},"Placement":{"Preferences":[{"Spread":null}],"Constraints":["a==b"]}}}`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		var s swarm.ServiceSpec
		if json.Unmarshal(body, &s) != nil {
			return
		}
		normalizeService(&s)
		if checkService(&s) != nil {
			return
		}
		id := SpecID(&s.TaskTemplate, hostPorts(&s))
		_ = withDefaults(s)
		again, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		var back swarm.ServiceSpec
		if err := json.Unmarshal(again, &back); err != nil {
			t.Fatal(err)
		}
		normalizeService(&back)
		if got := SpecID(&back.TaskTemplate, hostPorts(&back)); got != id {
			t.Errorf("%s: digest %s, and %s when read back", again, id, got)
		}
	})
}
