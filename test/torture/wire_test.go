package torture

import (
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/moby/moby/api/types/swarm"
	"github.com/moby/moby/client"
)

// answer is what came back of a request that the official client would not send.
type answer struct {
	status  int
	message string // of an error; else the whole body
}

// request sends any request to the daemon's socket. A body that is JSON should say so in contentType.
func (r *rig) request(method, path, contentType string, body io.Reader) answer {
	r.Helper()
	req, err := http.NewRequest(method, "http://shoal"+path, body)
	if err != nil {
		r.Fatal(err)
	}
	if contentType != "" {
		req.Header.Set("Content-Type", contentType)
	}
	return r.send(req)
}

func (r *rig) send(req *http.Request) answer {
	r.Helper()
	ctx, cancel := context.WithTimeout(r.Context(), 30*time.Second)
	defer cancel()
	t := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", r.machine.Socket())
	}}
	defer t.CloseIdleConnections()
	resp, err := t.RoundTrip(req.WithContext(ctx))
	if err != nil {
		return answer{0, err.Error()}
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil {
		return answer{resp.StatusCode, err.Error()}
	}
	var said struct{ Message string }
	if json.Unmarshal(b, &said) == nil && said.Message != "" {
		return answer{resp.StatusCode, said.Message}
	}
	return answer{resp.StatusCode, string(b)}
}

// version is a service's present version.
func (r *rig) version(service string) string {
	r.Helper()
	res, err := r.docker.ServiceInspect(r.Context(), service, client.ServiceInspectOptions{})
	if err != nil {
		r.Fatal(err)
	}
	return strconv.FormatUint(res.Service.Version.Index, 10)
}

func (r *rig) post(path, body string) answer {
	r.Helper()
	return r.request(http.MethodPost, path, "application/json", strings.NewReader(body))
}

// spec is a service of the rig's image as JSON, with more put into the container's spec and beside it.
func (r *rig) spec(name, container, more string) string {
	if container != "" {
		container = "," + container
	}
	if more != "" {
		more = "," + more
	}
	return `{"Name":"` + name + `","TaskTemplate":{"ContainerSpec":{"Image":"` + r.image + `"` + container + `}}` + more + `}`
}

// create makes a service and returns its ID.
func (r *rig) create(body string) string {
	r.Helper()
	a := r.post("/services/create", body)
	var made struct{ ID string }
	if err := json.Unmarshal([]byte(a.message), &made); err != nil || a.status != http.StatusCreated {
		r.Fatalf("create %s: %d %s", body, a.status, a.message)
	}
	return made.ID
}

// running counts the tasks of a service that run and should.
func (r *rig) running(service string) (n int, why string) {
	tasks := r.tasks(service)
	for _, t := range tasks {
		if t.DesiredState == swarm.TaskStateRunning && t.Status.State == swarm.TaskStateRunning {
			n++
		}
		why += string(t.DesiredState) + "/" + string(t.Status.State) + " " + t.Status.Err + "; "
	}
	return n, why
}

func (r *rig) tasks(service string) []swarm.Task {
	ctx, cancel := context.WithTimeout(r.Context(), 5*time.Second)
	defer cancel()
	list, err := r.docker.TaskList(ctx, client.TaskListOptions{Filters: make(client.Filters).Add("service", service)})
	if err != nil {
		return nil
	}
	return list.Items
}

// taskSays waits until a task of the service is in the state and its status says the words.
func (r *rig) taskSays(service string, state swarm.TaskState, words string) {
	r.Helper()
	r.await(20*time.Second, "no task is "+string(state)+": "+words, func() (bool, string) {
		why := ""
		for _, t := range r.tasks(service) {
			if t.Status.State == state && strings.Contains(t.Status.Err, words) {
				return true, ""
			}
			why += string(t.Status.State) + " " + t.Status.Err + "; "
		}
		return false, why
	})
}
