package api_test

import (
	"context"
	"encoding/json"
	"io"
	"iter"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/network"
	"github.com/moby/moby/api/types/swarm"
	"github.com/moby/moby/client"

	"shoal/internal/api"
	"shoal/internal/ca"
	"shoal/internal/cluster"
	"shoal/internal/controlplane"
	"shoal/internal/store"
	"shoal/internal/store/storetest"
)

// member is a node's life in a swarm, as a test wants it.
type member struct {
	control *controlplane.Control // nil: no manager
	leader  http.Handler          // nil: this node leads, or nobody
	nobody  bool
	inits   int
}

var errNotManager = cluster.Errorf(errdefs.ErrUnavailable, `This node is not a swarm manager. Use "docker swarm init" or "docker swarm join" to connect this node to swarm and try again.`)

func (m *member) Info(context.Context) swarm.Info {
	if m.control == nil {
		return swarm.Info{LocalNodeState: swarm.LocalNodeStateInactive}
	}
	return swarm.Info{NodeID: "node1", LocalNodeState: swarm.LocalNodeStateActive, ControlAvailable: true, Nodes: 1, Managers: 1}
}

func (m *member) Control() (*controlplane.Control, error) {
	if m.control == nil {
		return nil, errNotManager
	}
	return m.control, nil
}

func (m *member) Init(context.Context, swarm.InitRequest) (string, error) {
	m.inits++
	return "node1", nil
}
func (m *member) Join(context.Context, swarm.JoinRequest) error { return nil }
func (m *member) Leave(_ context.Context, force bool) error {
	if !force {
		return cluster.Errorf(errdefs.ErrUnavailable, "You are attempting to leave the swarm on a node that is participating as a manager.")
	}
	return nil
}

func (m *member) Unlock(context.Context, string) error {
	return cluster.Errorf(errdefs.ErrConflict, "swarm is not locked")
}
func (m *member) Leader() (http.Handler, bool) { return m.leader, m.leader == nil && !m.nobody }

// ownNetworks are a node's networks, in memory.
type ownNetworks struct{ list []network.Inspect }

func newOwnNetworks() *ownNetworks {
	n := &ownNetworks{}
	for _, name := range []string{"bridge", "host", "none"} {
		n.list = append(n.list, network.Inspect{Network: network.Network{Name: name, ID: strings.Repeat("0", 61) + name[:3], Scope: "local", Driver: name}})
	}
	return n
}

func (o *ownNetworks) CreateLocal(_ context.Context, req network.CreateRequest) (network.CreateResponse, error) {
	id := "ab" + strings.Repeat("1", 62)
	o.list = append(o.list, network.Inspect{Network: network.Network{Name: req.Name, ID: id, Scope: "local", Driver: "bridge", Labels: req.Labels}})
	return network.CreateResponse{ID: id}, nil
}
func (o *ownNetworks) ListLocal(context.Context) ([]network.Inspect, error) { return o.list, nil }
func (o *ownNetworks) InspectLocal(_ context.Context, ref string) (network.Inspect, error) {
	for _, n := range o.list {
		if n.ID == ref || n.Name == ref || strings.HasPrefix(n.ID, ref) {
			return n, nil
		}
	}
	return network.Inspect{}, cluster.Errorf(errdefs.ErrNotFound, "network %s not found", ref)
}

func (o *ownNetworks) RemoveLocal(_ context.Context, ref string) error {
	o.list = slices.DeleteFunc(o.list, func(n network.Inspect) bool { return n.ID == ref || n.Name == ref })
	return nil
}

// taskLogs are logs by task ID.
type taskLogs map[string][]api.LogLine

func (l taskLogs) TaskLog(ctx context.Context, t *cluster.Task, opts api.LogOptions) iter.Seq2[api.LogLine, error] {
	return func(yield func(api.LogLine, error) bool) {
		lines, ok := l[t.ID]
		if !ok {
			yield(api.LogLine{}, cluster.Errorf(errdefs.ErrUnavailable, "no session"))
			return
		}
		if opts.Tail >= 0 {
			lines = lines[max(0, len(lines)-opts.Tail):]
		}
		for _, line := range lines {
			if !yield(line, nil) {
				return
			}
		}
		if opts.Follow {
			<-ctx.Done()
		}
	}
}

// rig is one node that serves the API.
type rig struct {
	*client.Client
	member *member
	own    *ownNetworks
	logs   taskLogs
	url    string
	server *api.Server
}

// newRig serves a leading manager; change may make another node of it.
func newRig(t *testing.T, change func(*member)) *rig {
	t.Helper()
	r := &rig{member: &member{control: &controlplane.Control{Store: storetest.New(t)}}, own: newOwnNetworks(), logs: taskLogs{}}
	storetest.Update(t, r.member.control.Store, func(tx *store.Tx) {
		c, n := &cluster.Cluster{}, &cluster.Node{}
		if err := ca.NewCluster(c, nil, nil, time.Now()); err != nil {
			t.Fatal(err)
		}
		n.ID, n.Description.Hostname, n.Status.State = "node1", "host1", swarm.NodeStateReady
		n.Spec = swarm.NodeSpec{Role: swarm.NodeRoleManager, Availability: swarm.NodeAvailabilityActive}
		if err := controlplane.Bootstrap(tx, c, n); err != nil {
			t.Fatal(err)
		}
	})
	if change != nil {
		change(r.member)
	}
	r.server = api.New(api.Config{Swarm: r.member, Networks: r.own, Logs: r.logs, Facts: api.Facts{Version: "0.1.0"}})
	srv := httptest.NewServer(r.server)
	t.Cleanup(srv.Close)
	r.url = srv.URL
	c, err := client.New(client.WithHost("tcp://" + strings.TrimPrefix(srv.URL, "http://")))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	r.Client = c
	return r
}

// call sends one request as it is, and returns the status and the body, or the message in it.
func (r *rig) call(t *testing.T, method, path, body string, header ...string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, r.url+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	var message struct{ Message string }
	if json.Unmarshal(text, &message) == nil && message.Message != "" {
		return resp.StatusCode, message.Message
	}
	return resp.StatusCode, strings.TrimSpace(string(text))
}

func (r *rig) service(t *testing.T, name string) string {
	t.Helper()
	spec := swarm.ServiceSpec{Annotations: swarm.Annotations{Name: name}}
	spec.TaskTemplate.ContainerSpec = &swarm.ContainerSpec{Image: "web:v1"}
	resp, err := r.ServiceCreate(t.Context(), client.ServiceCreateOptions{Spec: spec})
	if err != nil {
		t.Fatal(err)
	}
	return resp.ID
}

func (r *rig) task(t *testing.T, id, serviceID string) {
	t.Helper()
	storetest.Update(t, r.member.control.Store, func(tx *store.Tx) {
		s := store.Services.Get(tx, serviceID)
		store.Tasks.Put(tx, &cluster.Task{
			ID: id, ServiceID: s.ID, ServiceName: s.Spec.Name, SpecID: s.SpecID, NodeID: "node1", Slot: 1,
			DesiredState: swarm.TaskStateRunning, Status: swarm.TaskStatus{State: swarm.TaskStateRunning},
		})
	})
}
