package network

import (
	"os/exec"
	"strings"
	"testing"
)

// Whoever refuses what he does not know, and in which way he says it, has two accepts of ours, and nobody else.
func TestAccepts(t *testing.T) {
	r := newRig(t)
	n := r.node("a", 11)
	space := "nsenter --net=/run/netns/" + n.ns
	for _, test := range []struct {
		name, rules string
		refuses     bool
	}{
		{"a policy", "chain c { type filter hook forward priority 0; policy drop; ct mark 0x77 accept; }", true},
		{"firewalld's last rule", "chain c { type filter hook forward priority 10; ct state established accept; counter reject with icmpx admin-prohibited; }", true},
		{"in a chain that it jumps to", "chain d { ct mark 1 accept; log drop; }; chain c { type filter hook forward priority 0; jump d; accept; }", true},
		{"in a chain that it goes to", "chain d { drop; }; chain c { type filter hook forward priority 0; goto d; }", true},
		{"some packets", "chain c { type filter hook forward priority 0; ct mark 1 drop; meta l4proto tcp reject; }", false},
		{"what was accepted before", "chain c { type filter hook forward priority 0; accept; drop; }", false},
		{"if it jumps there", "chain d { drop; }; chain c { type filter hook forward priority 0; ct mark 1 jump d; }", false},
		{"another hook", "chain c { type filter hook input priority 0; policy drop; }", false},
	} {
		r.sh("%s nft -f - <<< 'table inet other { %s; }'", space, test.rules)
		before := r.sh("%s nft list ruleset", space)
		want := 0
		if test.refuses {
			want = 2
		}
		for range 2 {
			if err := n.accept(true); err != nil {
				t.Fatalf("%s: %v", test.name, err)
			}
			if out := r.sh("%s nft list ruleset", space); strings.Count(out, "shoal:accept") != want {
				t.Errorf("%s: want %d accepts:\n%s", test.name, want, out)
			}
		}
		if err := n.accept(false); err != nil {
			t.Fatalf("%s: %v", test.name, err)
		}
		if out := r.sh("%s nft list ruleset", space); out != before {
			t.Errorf("%s: left behind:\n%s", test.name, out)
		}
		r.sh("%s nft delete table inet other", space)
	}
	if _, err := exec.LookPath("iptables"); err == nil {
		r.sh("%s iptables -A FORWARD -m comment --comment last -j REJECT", space)
		if err := n.accept(true); err != nil {
			t.Fatal(err)
		}
		if out := r.sh("%s iptables -S FORWARD", space); strings.Count(out, "shoal:accept") != 2 {
			t.Errorf("iptables with REJECT: %s", out)
		}
	}
}

// A table that nobody but its owner may change is told of, and in nobody's way.
func TestAcceptsBesideAnOwner(t *testing.T) {
	r := newRig(t)
	n := r.node("a", 11)
	cmd := exec.CommandContext(t.Context(), "nsenter", "--net=/run/netns/"+n.ns, "nft", "-i")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { in.Close(); _ = cmd.Wait() })
	if _, err := in.Write([]byte("add table inet other { flags owner; }\nadd chain inet other c { type filter hook forward priority 0; policy drop; }\nlist chains\n")); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 1<<16)
	for text := ""; !strings.Contains(text, "policy drop"); {
		got, err := out.Read(b)
		if err != nil {
			t.Fatalf("%v after %q", err, text)
		}
		text += string(b[:got])
	}
	if err := n.accept(true); err != nil {
		t.Fatal(err)
	}
	if n.shut != "inet other" {
		t.Errorf("told of %q", n.shut)
	}
}
