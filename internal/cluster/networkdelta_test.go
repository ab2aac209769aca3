package cluster

import (
	"fmt"
	"net/netip"
	"reflect"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/moby/moby/api/types/swarm"
	"pgregory.net/rapid"
)

// Whatever two states are, what lies between them leads from one to the other.
func TestDeltaLeadsToTheState(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		draw := func(label string, index uint64) NetworkState {
			s := NetworkState{Index: index}
			for i := range 3 {
				if !rapid.Bool().Draw(t, label) {
					continue
				}
				l := NetworkLink{ID: fmt.Sprint("net", i), MTU: rapid.IntRange(0, 1).Draw(t, label)}
				for e := range 6 {
					if rapid.Bool().Draw(t, label) {
						l.Endpoints = append(l.Endpoints, Endpoint{TaskID: fmt.Sprint("t", e), Live: rapid.Bool().Draw(t, label)})
					}
					if rapid.Bool().Draw(t, label) {
						l.Services = append(l.Services, VIP{ServiceID: fmt.Sprint("s", e), Name: rapid.SampledFrom([]string{"a", "b"}).Draw(t, label)})
					}
				}
				s.Networks = append(s.Networks, l)
			}
			for p := range rapid.IntRange(0, 5).Draw(t, label) {
				if count := rapid.IntRange(0, 2).Draw(t, label); count > 0 {
					for k := range count {
						s.Ports = append(s.Ports, Port{ServiceID: fmt.Sprint("s", p), Config: swarm.PortConfig{PublishedPort: uint32(80 + k)}})
					}
				}
			}
			return s
		}
		from, to := draw("from", 3), draw("to", 7)
		d := NetworkDelta{Base: 3, Index: 7}
		d.Ports, d.PortServices = DiffPorts(from.Ports, to.Ports)
		find := func(s *NetworkState, id string) *NetworkLink {
			for i := range s.Networks {
				if s.Networks[i].ID == id {
					return &s.Networks[i]
				}
			}
			return nil
		}
		for i := range to.Networks {
			if change, any := DiffLinks(find(&from, to.Networks[i].ID), &to.Networks[i]); any {
				d.Networks = append(d.Networks, change)
			}
		}
		for _, l := range from.Networks {
			if find(&to, l.ID) == nil {
				d.Gone = append(d.Gone, l.ID)
			}
		}
		got, err := from.With(d)
		if err != nil {
			t.Fatal(err)
		}
		slices.SortFunc(got.Networks, func(a, b NetworkLink) int { return cmpString(a.ID, b.ID) })
		if diff := cmp.Diff(to, got, cmpopts.EquateEmpty(), cmpopts.EquateComparable(netip.Addr{}, netip.Prefix{})); diff != "" {
			t.Fatal(diff)
		}
		if _, err := got.With(d); err == nil {
			t.Fatal("a delta led on from a state that it does not begin at")
		}
	})
}

func cmpString(a, b string) int {
	if a < b {
		return -1
	}
	return 1
}

// A field that is forgotten in a comparison would never reach a node.
func TestEveryFieldCounts(t *testing.T) {
	for _, test := range []struct {
		zero any
		same func(a, b any) bool
	}{
		{Endpoint{}, func(a, b any) bool { x, y := a.(Endpoint), b.(Endpoint); return x.same(&y) }},
		{VIP{}, func(a, b any) bool { x, y := a.(VIP), b.(VIP); return x.same(&y) }},
		{Port{}, func(a, b any) bool { return a.(Port).same(b.(Port)) }},
		{Bind{}, func(a, b any) bool { return a.(Bind).Equal(b.(Bind)) }},
	} {
		typ := reflect.TypeOf(test.zero)
		for i := range typ.NumField() {
			v := reflect.New(typ).Elem()
			switch f := v.Field(i); f.Kind() {
			case reflect.String:
				f.SetString("x")
			case reflect.Bool:
				f.SetBool(true)
			case reflect.Slice:
				f.Set(reflect.MakeSlice(f.Type(), 1, 1))
			case reflect.Struct:
				if first := f.Field(0); first.Kind() == reflect.Slice {
					first.Set(reflect.MakeSlice(first.Type(), 1, 1))
				} else {
					first.SetString("x")
				}
			default:
				t.Fatalf("%s.%s: extend the test", typ, typ.Field(i).Name)
			}
			if test.same(test.zero, v.Interface()) {
				t.Errorf("%s.%s is not compared", typ, typ.Field(i).Name)
			}
		}
	}
}
