package image

import (
	"strings"
	"testing"

	"github.com/containerd/errdefs"
	"github.com/google/go-cmp/cmp"
	"github.com/moby/moby/api/pkg/authconfig"
	"github.com/moby/moby/api/types/registry"
)

const digestA = "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"

func TestNames(t *testing.T) {
	for _, c := range []struct{ in, record, tag, repo string }{
		{"nginx", "docker.io/library/nginx:latest", "nginx:latest", "nginx"},
		{"nginx:1", "docker.io/library/nginx:1", "nginx:1", "nginx"},
		{"docker.io/me/x", "docker.io/me/x:latest", "me/x:latest", "me/x"},
		{"localhost:5000/x:1", "localhost:5000/x:1", "localhost:5000/x:1", "localhost:5000/x"},
		{"nginx:1@" + digestA, "docker.io/library/nginx@" + digestA, "", "nginx"},
		{"nginx@" + digestA, "docker.io/library/nginx@" + digestA, "", "nginx"},
	} {
		n, err := parse(c.in)
		if err != nil {
			t.Fatal(c.in, err)
		}
		tag, repo := split(recordName(n))
		if d := cmp.Diff([]string{c.record, c.tag, c.repo}, []string{recordName(n), tag, repo}); d != "" {
			t.Errorf("%s: %s", c.in, d)
		}
	}
	for _, bad := range []string{"", "UPPER", "a b", "x:", ":x", "x@sha256:12", strings.Repeat("a", 300), "-x", "http://x/y"} {
		if _, err := parse(bad); !errdefs.IsInvalidArgument(err) {
			t.Errorf("%q: %v", bad, err)
		}
	}
	if tag, repo := split(danglingPrefix + digestA); tag+repo != "" {
		t.Errorf("a nameless record shows as %q %q", tag, repo)
	}
}

func TestNotFoundSentence(t *testing.T) {
	for in, want := range map[string]string{
		"nosuch": "No such image: nosuch:latest", "docker.io/library/x:1": "No such image: x:1", "abc123": "No such image: abc123",
	} {
		if got := notFound(in).Error(); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

func TestAllowsInsecure(t *testing.T) {
	r, err := newRegistries(nil, []string{"reg.example:5000", "Plain.example", "10.1.0.0/16", "fd00::/8"})
	if err != nil {
		t.Fatal(err)
	}
	for host, want := range map[string]bool{
		"localhost": true, "localhost:5000": true, "127.0.0.1": true, "127.9.9.9:80": true, "[::1]:5000": true, "[::ffff:127.0.0.1]:1": true,
		"reg.example:5000": true, "REG.example:5000": true, "reg.example": false, "reg.example:5001": false,
		"plain.example": true, "plain.example:99": true, "10.1.2.3:5000": true, "10.2.0.1:5000": false, "[fd00::1]:5000": true,
		"docker.io": false, "registry-1.docker.io": false, "10.example": false,
	} {
		if got := r.allowsInsecure(host); got != want {
			t.Errorf("%s: %v", host, got)
		}
	}
}

func TestHostsInOrder(t *testing.T) {
	r, err := newRegistries([]string{"http://m1:5000", "https://m2/sub/"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	for domain, want := range map[string][]string{
		"docker.io":     {"http://m1:5000/v2", "https://m2/sub/v2", "https://registry-1.docker.io/v2"},
		"quay.io":       {"https://quay.io/v2"},
		"10.0.0.1:5000": {"https://10.0.0.1:5000/v2"},
	} {
		hosts, err := r.hosts(registry.AuthConfig{})(domain)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, h := range hosts {
			got = append(got, h.Scheme+"://"+h.Host+h.Path)
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("%s: %s", domain, d)
		}
	}
	for _, bad := range []string{"m1:5000", "ftp://m", "https://", "https://u:p@m", "https://m?x=1"} {
		if _, err := newRegistries([]string{bad}, nil); !errdefs.IsInvalidArgument(err) {
			t.Errorf("mirror %q: %v", bad, err)
		}
	}
	for _, bad := range []string{"http://x", "", "1.2.3.4/99"} {
		if _, err := newRegistries(nil, []string{bad}); !errdefs.IsInvalidArgument(err) {
			t.Errorf("insecure registry %q: %v", bad, err)
		}
	}
}

func FuzzDecodeAuth(f *testing.F) {
	good, err := authconfig.Encode(registry.AuthConfig{Username: "u", Password: "pä?>"})
	if err != nil {
		f.Fatal(err)
	}
	for _, s := range []string{"", good, strings.TrimRight(good, "="), "e30=", "bnVsbA==", "!!", "eyJhdXRoIjoiZFRwdyJ9"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, header string) {
		a, err := DecodeAuth(header)
		if err != nil {
			if !errdefs.IsInvalidArgument(err) || a != (registry.AuthConfig{}) {
				t.Fatalf("%v with %+v", err, a)
			}
			return
		}
		again, err := authconfig.Encode(a)
		if err != nil {
			t.Fatal(err)
		}
		if b, err := DecodeAuth(again); err != nil || a != b {
			t.Fatalf("%+v became %+v: %v", a, b, err)
		}
	})
}
