package dns

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"shoal/internal/cluster"
)

// Names that were changed answer as names that were made anew.
func TestChangedNamesAreThoseMadeAnew(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		address := func(i int) []netip.Addr { return []netip.Addr{netip.AddrFrom4([4]byte{10, 0, 0, byte(i)})} }
		words := rapid.SampledFrom([]string{"", "a", "B", "c"})
		draw := func(label string) (l cluster.NetworkLink) {
			l.Name = "Net"
			for i := range 3 {
				if rapid.Bool().Draw(t, label) {
					s := cluster.VIP{ServiceID: fmt.Sprint("s", i), Name: words.Draw(t, label), Aliases: []string{words.Draw(t, label)}}
					if rapid.Bool().Draw(t, label) {
						s.Addresses = address(100 + i)
					}
					l.Services = append(l.Services, s)
				}
				if rapid.Bool().Draw(t, label) {
					l.Endpoints = append(l.Endpoints, cluster.Endpoint{
						TaskID: fmt.Sprint("t", i), Name: words.Draw(t, label), Hostname: words.Draw(t, label), Aliases: []string{words.Draw(t, label)},
						ServiceID: rapid.SampledFrom([]string{"", "s0", "s1"}).Draw(t, label), Live: rapid.Bool().Draw(t, label), Addresses: address(i),
					})
				}
			}
			return l
		}
		last := draw("first")
		names := NewNames(last, nil)
		for range 3 {
			next := draw("next")
			names.Change(last, next)
			last = next
		}
		fresh := NewNames(last, nil)
		for _, word := range []string{"a", "b", "c", "tasks.a", "tasks.b", "b.net", "tasks."} {
			if diff := cmp.Diff(fmt.Sprint(fresh.Lookup(word)), fmt.Sprint(names.Lookup(word))); diff != "" {
				t.Fatalf("%s: %s", word, diff)
			}
		}
		for _, i := range []int{0, 1, 2, 100, 101, 102} {
			want, _ := fresh.Reverse(address(i)[0])
			if got, _ := names.Reverse(address(i)[0]); got != want {
				t.Fatalf("back from %d: %q, not %q", i, got, want)
			}
		}
		if len(names.names) != len(fresh.names) || len(names.back) != len(fresh.back) {
			t.Fatalf("%d names and %d addresses, not %d and %d", len(names.names), len(names.back), len(fresh.names), len(fresh.back))
		}
	})
}

// A question that is asked meanwhile gets what was before or what is after, and nothing between.
func TestNamesWhileTheyChange(t *testing.T) {
	one := cluster.NetworkLink{Endpoints: []cluster.Endpoint{{TaskID: "t", Name: "x", Live: true, Addresses: []netip.Addr{netip.MustParseAddr("10.0.0.1")}}}}
	two := cluster.NetworkLink{Endpoints: []cluster.Endpoint{{TaskID: "t", Name: "x", Live: true, Addresses: []netip.Addr{netip.MustParseAddr("10.0.0.2")}}}}
	names := NewNames(one, nil)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for range 1000 {
			names.Change(one, two)
			names.Change(two, one)
		}
	}()
	for asked := 0; ; asked++ {
		got := names.Lookup("x")
		if len(got) != 1 || !slices.Contains([]string{"10.0.0.1", "10.0.0.2"}, got[0].String()) {
			t.Fatalf("answered %v", got)
		}
		select {
		case <-done:
			return
		default:
		}
	}
}
