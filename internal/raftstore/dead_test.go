package raftstore_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"shoal/internal/raftstore"
)

var noon = time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)

func leads(id string) raftstore.Server {
	return raftstore.Server{ID: id, Voter: true, Leader: true, Reachable: true}
}

func here(id string) raftstore.Server { return raftstore.Server{ID: id, Voter: true, Reachable: true} }

func gone(id string, minutes int) raftstore.Server {
	return raftstore.Server{ID: id, Voter: true, LastContact: noon.Add(-time.Duration(minutes) * time.Minute)}
}

func TestDead(t *testing.T) {
	watching := gone("w", 20)
	watching.Voter = false
	for _, c := range []struct {
		name    string
		servers []raftstore.Server
		want    string
	}{
		{"all are there", []raftstore.Server{leads("a"), here("b"), here("c"), here("d")}, ""},
		{"three: none to spare", []raftstore.Server{leads("a"), here("b"), gone("c", 20)}, ""},
		{"replaced", []raftstore.Server{leads("a"), here("b"), gone("c", 20), here("d")}, "c"},
		{"not long enough", []raftstore.Server{leads("a"), here("b"), gone("c", 9), here("d")}, ""},
		{"to the second", []raftstore.Server{leads("a"), here("b"), gone("c", 10), here("d")}, "c"},
		{"the longest silence first", []raftstore.Server{leads("a"), here("b"), here("c"), gone("d", 20), gone("e", 30)}, "e"},
		{"ties by ID", []raftstore.Server{leads("a"), here("b"), here("c"), gone("e", 20), gone("d", 20)}, "d"},
		{"then not below three", []raftstore.Server{leads("a"), here("b"), gone("d", 20)}, ""},
		{"one without a vote is no burden", []raftstore.Server{leads("a"), here("b"), here("c"), here("d"), watching}, ""},
		{"no quorum without it", []raftstore.Server{leads("a"), here("b"), gone("c", 20), gone("d", 5), gone("e", 5)}, ""},
	} {
		if got := raftstore.Dead(c.servers, 10*time.Minute, noon); got != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
}

// Cleaning up until nobody is named never takes out a living voter, never the quorum, and never goes below three.
func TestCleanUpIsSafe(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		servers := []raftstore.Server{leads("a")}
		for i := range rapid.IntRange(0, 8).Draw(t, "others") {
			s := here(fmt.Sprint("n", i))
			if rapid.Bool().Draw(t, "gone") {
				s = gone(s.ID, rapid.IntRange(0, 20).Draw(t, "minutes"))
			}
			servers = append(servers, s)
		}
		for {
			id := raftstore.Dead(servers, 10*time.Minute, noon)
			if id == "" {
				return
			}
			if err := raftstore.Quorum(servers, id); err != nil {
				t.Fatal(err)
			}
			var left []raftstore.Server
			for _, s := range servers {
				if s.ID != id {
					left = append(left, s)
				} else if s.Reachable {
					t.Fatalf("%s answers", id)
				}
			}
			if len(left) != len(servers)-1 || len(left) < 3 {
				t.Fatalf("%d of %d voters left", len(left), len(servers))
			}
			servers = left
		}
	})
}

// What the library tells of a server that has gone is what the clean-up goes by.
func TestDeadInARealGroup(t *testing.T) {
	members := group(t, 4, raftstore.Config{})
	leader, lost := members[0], members[3]
	before := time.Now()
	lost.layer.setCut(true)
	eventually(t, "n4 is silent", func() bool {
		return slices.ContainsFunc(leader.Servers(), func(s raftstore.Server) bool { return s.ID == "n4" && !s.Reachable })
	})
	if got := raftstore.Dead(leader.Servers(), time.Minute, time.Now()); got != "" {
		t.Errorf("%s is dead at once", got)
	}
	if got := raftstore.Dead(leader.Servers(), time.Minute, before.Add(62*time.Second)); got != "n4" {
		t.Errorf("dead: %q", got)
	}
	if err := leader.Remove(t.Context(), "n4"); err != nil {
		t.Fatal(err)
	}
	if got := leader.Servers(); len(got) != 3 {
		t.Errorf("servers: %+v", got)
	}
}
