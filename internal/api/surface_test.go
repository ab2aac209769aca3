package api_test

import (
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/moby/moby/api/types/swarm"
	"github.com/moby/moby/client"
)

// TestStatusAndWords holds bad requests to the status and message that clients see.
func TestStatusAndWords(t *testing.T) {
	r := newRig(t, nil)
	r.service(t, "web")
	const web = `{"Name":"web","TaskTemplate":{"ContainerSpec":{"Image":"web:v1"}}}`
	for _, tt := range []struct {
		method, path, body string
		status             int
		want               string // part of the message
	}{
		{"GET", "/v1.20/info", "", 400, "client version 1.20 is too old. Minimum supported API version is 1.40, please upgrade your client to a newer version"},
		{"GET", "/v1.39/info", "", 400, "client version 1.39 is too old"},
		{"GET", "/v1.57/info", "", 400, "client version 1.57 is too new. Maximum supported API version is 1.56"},
		{"GET", "/v2.0/info", "", 400, "client version 2.0 is too new"},
		{"GET", "/v1.40/nosuch", "", 404, "page not found"},
		{"GET", "/", "", 404, "page not found"},
		{"GET", "/v1.x/info", "", 404, "page not found"},
		{"PUT", "/services", "", 405, "method not allowed"},

		{"POST", "/services/create", "{", 400, "invalid JSON: unexpected"},
		{"POST", "/services/create", `{"Name":5}`, 400, "invalid JSON: json: cannot unmarshal number"},
		{"POST", "/services/create", web + web, 400, "invalid JSON: unexpected content after JSON"},
		{"POST", "/services/create", "", 400, "invalid JSON: got EOF while reading request body"},
		{"POST", "/services/create", web, 409, "name conflicts with an existing object: service web already exists"},
		{"POST", "/services/create", `{"Name":"` + strings.Repeat("x", 5<<20) + `"}`, 413, "request body too large: the limit is 4MiB"},
		{"POST", "/services/create", `{"Name":"n","TaskTemplate":{"Networks":[{"Target":"nosuchnet"}],"ContainerSpec":{"Image":"a"}}}`, 404, "network nosuchnet not found"},
		{"POST", "/services/web/update", web, 400, "invalid object version ''"},
		{"POST", "/services/web/update?version=abc", web, 400, "invalid object version 'abc'"},
		{"POST", "/services/web/update?version=1", web, 500, "update out of sequence"},
		{"GET", "/services/nosuch", "", 404, "service nosuch not found"},
		{"GET", `/services?filters={"nosuch":{"1":true}}`, "", 400, "invalid filter 'nosuch'"},
		{"GET", `/services?filters=[`, "", 400, "invalid filter"},
		{"GET", "/services/web/logs", "", 400, "Bad parameters: you must choose at least one stream"},
		{"GET", "/services/web/logs?stdout=1&tail=x", "", 400, `invalid value "x" for "tail"`},
		{"GET", "/services/web/logs?stdout=1&since=never", "", 400, `invalid value "never" for "since"`},
		{"GET", "/tasks/nosuch/logs?stdout=1", "", 404, "task nosuch not found"},
		{"DELETE", "/nodes/node1", "", 400, "It must be demoted to worker before removal"},
		{"POST", "/secrets/create", `{"Name":"pw"}`, 400, "secret data must be larger than 0 and less than 512000 bytes"},
		{"DELETE", "/configs/nosuch", "", 404, "config nosuch not found"},
		{"POST", "/swarm/leave", "", 503, "You are attempting to leave the swarm"},
		{"POST", "/swarm/unlock", `{"UnlockKey":"x"}`, 409, "swarm is not locked"},
		{"DELETE", "/networks/nosuch", "", 404, "network nosuch not found"},
		{"POST", "/networks/create", `{"Name":"bridge","Driver":"overlay"}`, 403, "operation is not permitted on predefined bridge network"},
		{"POST", "/networks/x/connect", `{}`, 501, "not supported by this daemon"},
	} {
		status, message := r.call(t, tt.method, tt.path, tt.body)
		if status != tt.status || !strings.Contains(message, tt.want) {
			t.Errorf("%s %s %.60s\n got %d %.300s\nwant %d %s", tt.method, tt.path, tt.body, status, message, tt.status, tt.want)
		}
	}
	status, message := r.call(t, "POST", "/services/create", web, "Content-Type", "text/plain")
	if status != 400 || message != "unsupported Content-Type header (text/plain): must be 'application/json'" {
		t.Errorf("another content type: %d %s", status, message)
	}
}

// TestHugeBodyIsRefusedAtOnce: a body of a gigabyte is refused by its announced length, before any of it is read.
func TestHugeBodyIsRefusedAtOnce(t *testing.T) {
	r := newRig(t, nil)
	var read atomic.Int64 // the client reads it from a goroutine of its own
	body := readerFunc(func(b []byte) (int, error) {
		read.Add(int64(len(b)))
		return len(b), nil
	})
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, r.url+"/services/create", body)
	if err != nil {
		t.Fatal(err)
	}
	req.ContentLength = 1 << 30
	req.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusRequestEntityTooLarge || read.Load() > 64<<20 {
		t.Errorf("status %d after %d bytes, want 413 at once", resp.StatusCode, read.Load())
	}
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(b []byte) (int, error) { return f(b) }

func TestPing(t *testing.T) {
	for state, change := range map[string]func(*member){
		"active/manager": nil,
		"inactive":       func(m *member) { m.control = nil },
	} {
		r := newRig(t, change)
		for _, method := range []string{http.MethodGet, http.MethodHead} {
			req, err := http.NewRequestWithContext(t.Context(), method, r.url+"/_ping", nil)
			if err != nil {
				t.Fatal(err)
			}
			resp, err := http.DefaultClient.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			resp.Body.Close()
			for name, want := range map[string]string{
				"Api-Version": "1.56", "Ostype": "linux", "Swarm": state, "Builder-Version": "1", "Docker-Experimental": "false",
				"Server": "Shoal/0.1.0 (linux)", "Cache-Control": "no-cache, no-store, must-revalidate",
			} {
				if got := resp.Header.Get(name); got != want {
					t.Errorf("%s /_ping: %s is %q, want %q", method, name, got, want)
				}
			}
		}
	}
}

func TestVersionAndInfo(t *testing.T) {
	r := newRig(t, nil)
	ping, err := r.Ping(t.Context(), client.PingOptions{NegotiateAPIVersion: true})
	if err != nil || ping.APIVersion != "1.56" {
		t.Fatalf("ping: %+v, %v", ping, err)
	}
	v, err := r.ServerVersion(t.Context(), client.ServerVersionOptions{})
	if err != nil || v.Version != "0.1.0" || v.APIVersion != "1.56" || v.MinAPIVersion != "1.40" || len(v.Components) != 1 {
		t.Errorf("version: %+v, %v", v, err)
	}
	got, err := r.Info(t.Context(), client.InfoOptions{})
	if err != nil {
		t.Fatal(err)
	}
	i := got.Info
	if !i.Swarm.ControlAvailable || i.NCPU == 0 || i.MemTotal == 0 || i.OperatingSystem == "" || i.KernelVersion == "" || i.Name == "" ||
		i.CgroupVersion == "" || i.RegistryConfig == nil || i.ServerVersion != "0.1.0" || len(i.Plugins.Log) == 0 {
		t.Errorf("info: %+v", i)
	}
}

// TestNoManager: a node that is no manager refuses what is the swarm's, and serves what is its own.
func TestNoManager(t *testing.T) {
	r := newRig(t, func(m *member) { m.control = nil })
	for _, path := range []string{"/swarm", "/services", "/nodes", "/tasks", "/secrets", "/configs", "/services/x/logs?stdout=1"} {
		if status, message := r.call(t, "GET", path, ""); status != 503 || message != errNotManager.Error() {
			t.Errorf("GET %s: %d %s, want 503", path, status, message)
		}
	}
	if status, message := r.call(t, "POST", "/networks/create", `{"Name":"n","Driver":"overlay"}`); status != 503 || message != errNotManager.Error() {
		t.Errorf("overlay network: %d %s, want 503", status, message)
	}
	if list, err := r.NetworkList(t.Context(), client.NetworkListOptions{}); err != nil || len(list.Items) != 3 {
		t.Errorf("networks: %d, %v, want the node's own three", len(list.Items), err)
	}
	if _, err := r.SwarmInit(t.Context(), client.SwarmInitOptions{Spec: swarm.Spec{}}); err != nil || r.member.inits != 1 {
		t.Errorf("init: %v", err)
	}
}

// TestFollower: what is the swarm's goes to the leader as it came, and its answer comes back as it is.
func TestFollower(t *testing.T) {
	leader := newRig(t, nil)
	r := newRig(t, func(m *member) { m.leader = leader.server })
	id := r.service(t, "web")
	if _, err := leader.ServiceInspect(t.Context(), id, client.ServiceInspectOptions{}); err != nil {
		t.Errorf("the leader does not have the service: %v", err)
	}
	created, err := r.NetworkCreate(t.Context(), "net", client.NetworkCreateOptions{Driver: "overlay"})
	if err != nil {
		t.Fatal(err)
	}
	if n, err := r.NetworkInspect(t.Context(), "net", client.NetworkInspectOptions{}); err != nil || n.Network.ID != created.ID {
		t.Errorf("the network that this follower does not have yet: %v", err)
	}
	if _, err := r.NetworkRemove(t.Context(), "net", client.NetworkRemoveOptions{}); err != nil {
		t.Errorf("remove through the follower: %v", err)
	}
	if status, message := r.call(t, "GET", "/services/nosuch", ""); status != 404 || message != "service nosuch not found" {
		t.Errorf("the leader's refusal: %d %s", status, message)
	}

	alone := newRig(t, func(m *member) { m.nobody = true })
	if status, message := alone.call(t, "GET", "/services", ""); status != 503 || !strings.HasPrefix(message, "The swarm does not have a leader.") {
		t.Errorf("without a leader: %d %s", status, message)
	}
}

func TestPanicIsOneRequests(t *testing.T) {
	r := newRig(t, func(m *member) { m.control.Store = nil })
	if status, message := r.call(t, "GET", "/services", ""); status != 500 || message != "internal error, see the daemon's log" {
		t.Errorf("a handler that panics: %d %s", status, message)
	}
	if status, _ := r.call(t, "GET", "/_ping", ""); status != 200 {
		t.Errorf("the next request: %d", status)
	}
}
