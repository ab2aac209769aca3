package torture

import (
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"

	"github.com/moby/moby/api/types/swarm"
	"github.com/moby/moby/client"
)

// TestBadInput sends what no client should. Each refusal has the API's class and says what is wrong; the daemon stays the same
// process and does not grow by what it is sent.
func TestBadInput(t *testing.T) {
	r := newRig(t, "10.99.73.0/24")
	r.init()
	web := r.create(r.spec("web", "", `"EndpointSpec":{"Ports":[{"TargetPort":80,"PublishedPort":8080}]}`))
	r.taskSays(web, swarm.TaskStateRunning, "")
	container := func(host string) string { return `{"Image":"` + r.image + `","HostConfig":{` + host + `}}` }
	update := "/services/" + web + "/update?version="
	for _, c := range []struct {
		name, path, body string
		status           int
		message          string
	}{
		{"bad reference", "/services/create", strings.Replace(r.spec("x", "", ""), r.image, "UPPER:::x", 1), 400, "is not a valid repository/tag"},
		{"no image", "/services/create", strings.Replace(r.spec("x", "", ""), r.image, "", 1), 400, "image reference must be provided"},
		{"port of another service", "/services/create", r.spec("x", "", `"EndpointSpec":{"Ports":[{"TargetPort":80,"PublishedPort":8080}]}`), 400, "port '8080' is already in use by service 'web'"},
		{"a port twice", "/services/create", r.spec("x", "", `"EndpointSpec":{"Ports":[{"TargetPort":80,"PublishedPort":99},{"TargetPort":81,"PublishedPort":99}]}`), 400, "duplicate"},
		{"mount without a target", "/services/create", r.spec("x", `"Mounts":[{"Type":"bind","Source":"/tmp"}]`, ""), 400, "arget"},
		{"negative replicas", "/services/create", r.spec("x", "", `"Mode":{"Replicated":{"Replicas":-1}}`), 400, "invalid JSON"},
		{"tiny memory", "/services/create", `{"Name":"x","TaskTemplate":{"ContainerSpec":{"Image":"` + r.image + `"},"Resources":{"Limits":{"MemoryBytes":1}}}}`, 400, "memory"},
		{"malformed JSON", "/services/create", `{"Name":`, 400, "invalid JSON"},
		{"another type", "/services/create", `{"Name":7}`, 400, "invalid JSON"},
		{"two values", "/services/create", r.spec("x", "", "") + r.spec("y", "", ""), 400, "unexpected content after JSON"},
		{"nothing", "/services/create", "", 400, "EOF"},
		{"an array", "/swarm/init", "[]", 400, "invalid JSON"},
		{"deep nesting", "/services/create", strings.Repeat("[", 1<<20), 400, "invalid JSON"},
		{"duplicate name", "/services/create", r.spec("web", "", ""), 409, "name conflicts with an existing object: service web already exists"},
		{"long name", "/services/create", r.spec(strings.Repeat("a", 64), "", ""), 400, "name must be 63 characters or fewer"},
		{"huge name", "/services/create", r.spec(strings.Repeat("a", 1<<20), "", ""), 400, "name must be 63 characters or fewer"},
		{"long name of a config", "/configs/create", `{"Name":"` + strings.Repeat("a", 65) + `","Data":"eA=="}`, 400, "invalid name"},
		{"long name of a volume", "/volumes/create", `{"Name":"` + strings.Repeat("a", 300) + `"}`, 400, "name"},
		{"long name of a network", "/networks/create", `{"Driver":"overlay","Name":"` + strings.Repeat("a", 65) + `"}`, 400, "name"},
		{"a path as a volume", "/volumes/create", `{"Name":"../../etc"}`, 400, "../../etc"},
		{"old version", update + "1", r.spec("web", "", ""), 500, "update out of sequence"},
		{"no version", update, r.spec("web", "", ""), 400, "invalid object version"},
		{"unknown service", "/services/nosuch/update?version=1", r.spec("web", "", ""), 404, "service nosuch not found"},
		{"unknown image of a container", "/containers/create", `{"Image":"nosuch:1"}`, 404, "No such image: nosuch:1"},
		{"unknown image to pull", "/images/create?fromImage=" + r.play.Registry() + "/nosuch&tag=1", "", 404, "nosuch"},
		{"bad name of a container", "/containers/create?name=a/b", container(""), 400, "Invalid container name (a/b)"},
		{"bad bind of a container", "/containers/create", container(`"Binds":["/nosuch/dir:relative"]`), 400, "relative"},
		{"unknown secret", "/services/create", r.spec("x", `"Secrets":[{"SecretID":"nosuch","SecretName":"nosuch","File":{"Name":"f"}}]`, ""), 400, "secret not found: nosuch"},
		{"init again", "/swarm/init", `{"ListenAddr":"0.0.0.0:2377"}`, 503, "This node is already part of a swarm"},
		{"API of the future", "/v1.99/services/create", r.spec("x", "", ""), 400, "client version 1.99 is too new"},
		{"API of the past", "/v1.10/services/create", r.spec("x", "", ""), 400, "client version 1.10 is too old"},
		{"unknown path", "/nosuch", "{}", 404, "page not found"},
	} {
		a := r.post(c.path, c.body)
		if a.status != c.status || !strings.Contains(a.message, c.message) {
			t.Errorf("%s: got %d %.200s; want %d %s", c.name, a.status, a.message, c.status, c.message)
		}
	}
	for _, path := range []string{"/services", "/tasks", "/nodes", "/secrets", "/configs", "/networks", "/containers/json", "/images/json", "/volumes", "/events"} {
		for filter, words := range map[string]string{`{"nosuch":["x"]}`: "nosuch", `{`: "invalid", `7`: "invalid"} {
			if a := r.request(http.MethodGet, path+"?filters="+filter, "", nil); a.status != 400 || !strings.Contains(a.message, words) {
				t.Errorf("%s with filters %s: %d %.200s", path, filter, a.status, a.message)
			}
		}
	}
	r.gigabytes("/services/create", "/swarm/init", "/configs/create", "/containers/create", "/volumes/create", "/networks/create", "/auth", update+"1")
	r.badTasks()
	if got := r.request(http.MethodGet, "/_ping", "", nil); got.status != 200 || !r.alive() {
		t.Errorf("the daemon is not what it was: %+v", got)
	}
	if n, why := r.running(web); n != 1 {
		t.Errorf("the service that was there does not run: %s", why)
	}
}

// gigabytes sends a gigabyte to each path, with and without telling so before.
func (r *rig) gigabytes(paths ...string) {
	r.Helper()
	const size = 1 << 30
	before := r.peak()
	for _, path := range paths {
		for _, told := range []bool{true, false} {
			req, err := http.NewRequest(http.MethodPost, "http://shoal"+path, io.LimitReader(spaces{}, size))
			if err != nil {
				r.Fatal(err)
			}
			req.Header.Set("Content-Type", "application/json")
			if told {
				req.ContentLength = size
			}
			if a := r.send(req); a.status != http.StatusRequestEntityTooLarge || !strings.Contains(a.message, "too large") {
				r.Errorf("a gigabyte to %s (told: %v): %d %.200s", path, told, a.status, a.message)
			}
		}
	}
	if grown := r.peak() - before; grown > 64<<10 {
		r.Errorf("the daemon has grown by %d KiB over it", grown)
	}
}

// spaces are legal JSON for ever.
type spaces struct{}

func (spaces) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = ' '
	}
	return len(p), nil
}

// peak is the most memory that the daemon has had, in KiB.
func (r *rig) peak() int {
	r.Helper()
	text := r.run("sh", "-c", "awk '/VmHWM/ {print $2}' /proc/"+strconv.Itoa(r.pid)+"/status")
	n, err := strconv.Atoi(strings.TrimSpace(text))
	if err != nil {
		r.Fatal(err)
	}
	return n
}

// badTasks makes services that are accepted and cannot run: the reason stands at the task.
func (r *rig) badTasks() {
	r.Helper()
	one := `"Mode":{"Replicated":{"Replicas":1}}`
	reserve := func(name, resources string) string {
		return `{"Name":"` + name + `","TaskTemplate":{"ContainerSpec":{"Image":"` + r.image + `"},"Resources":{"Reservations":{` + resources + `}}}}`
	}
	hostPort := `"EndpointSpec":{"Ports":[{"TargetPort":80,"PublishedPort":8090,"PublishMode":"host"}]}`
	first := r.create(r.spec("first", "", hostPort))
	r.taskSays(first, swarm.TaskStateRunning, "")
	for _, c := range []struct {
		body  string
		state swarm.TaskState
		words string
	}{
		{strings.Replace(r.spec("unknown-image", "", one), r.image, r.play.Registry()+"/nosuch:1", 1), swarm.TaskStateRejected, "No such image: " + r.play.Registry() + "/nosuch:1"},
		{r.spec("wrong-mount", `"Mounts":[{"Type":"bind","Source":"/nosuch","Target":"/x"}]`, one), swarm.TaskStateRejected, `invalid mount config for type "bind": bind source path does not exist: /nosuch`},
		{r.spec("no-command", `"Command":["/nosuch"]`, one), swarm.TaskStateFailed, "/nosuch"},
		{r.spec("host-port", "", hostPort), swarm.TaskStatePending, "no suitable node (host-mode port already in use on 1 node)"},
		{reserve("many-cpus", `"NanoCPUs":1000000000000`), swarm.TaskStatePending, "no suitable node (insufficient resources on 1 node)"},
		{reserve("much-memory", `"MemoryBytes":1125899906842624`), swarm.TaskStatePending, "no suitable node (insufficient resources on 1 node)"},
		{`{"Name":"nowhere","TaskTemplate":{"ContainerSpec":{"Image":"` + r.image + `"},"Placement":{"Constraints":["node.hostname==nosuch"]}}}`, swarm.TaskStatePending, "no suitable node (scheduling constraints not satisfied on 1 node)"},
	} {
		id := r.create(c.body)
		r.taskSays(id, c.state, c.words)
		if _, err := r.docker.ServiceRemove(r.Context(), id, client.ServiceRemoveOptions{}); err != nil {
			r.Error(err)
		}
	}
	a := r.post("/containers/create?name=port", `{"Image":"`+r.image+`","ExposedPorts":{"80/tcp":{}},"HostConfig":{"PortBindings":{"80/tcp":[{"HostPort":"8090"}]}}}`)
	if a.status != http.StatusCreated {
		r.Errorf("container with a port: %d %s", a.status, a.message)
	}
	if a := r.post("/containers/port/start", ""); a.status != http.StatusInternalServerError || !strings.Contains(a.message, "port is already allocated") {
		r.Errorf("a container on a port in use: %d %s", a.status, a.message)
	}
}
