package bench

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/moby/moby/api/types/swarm"
)

// engineAPI speaks to either daemon. It is plain HTTP, since the two understand no common version of one client.
type engineAPI struct{ http *http.Client }

// apiVersion is the newest that docker.io 20.10 knows.
const apiVersion = "/v1.41"

func dialEngine(socket string) engineAPI {
	return engineAPI{&http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", socket)
	}}}}
}

// call does one request; in and out may be nil.
func (e engineAPI) call(ctx context.Context, method, path string, in, out any) error {
	var body io.Reader
	if in != nil {
		b, err := json.Marshal(in)
		if err != nil {
			return err
		}
		body = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(ctx, method, "http://engine"+apiVersion+path, body)
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := e.http.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode >= 300 {
		err = fmt.Errorf("%s %s: %s: %s", method, path, resp.Status, bytes.TrimSpace(b))
	}
	if err == nil && out != nil {
		err = json.Unmarshal(b, out)
	}
	return err
}

// pull gets an image and returns its reference with the digest, as a CLI would put it into a service.
func (e engineAPI) pull(ctx context.Context, repository, tag string) (string, error) {
	q := url.Values{"fromImage": {repository}, "tag": {tag}}
	if err := e.call(ctx, http.MethodPost, "/images/create?"+q.Encode(), nil, nil); err != nil {
		return "", err
	}
	var d struct{ Descriptor struct{ Digest string } }
	err := e.call(ctx, http.MethodGet, "/distribution/"+repository+":"+tag+"/json", nil, &d)
	return repository + ":" + tag + "@" + d.Descriptor.Digest, err
}

// create makes a replicated service and returns its ID.
func (e engineAPI) create(ctx context.Context, name, image string, replicas uint64) (string, error) {
	return e.make(ctx, swarm.ServiceSpec{
		Annotations:  swarm.Annotations{Name: name},
		TaskTemplate: swarm.TaskSpec{ContainerSpec: &swarm.ContainerSpec{Image: image}},
		Mode:         swarm.ServiceMode{Replicated: &swarm.ReplicatedService{Replicas: &replicas}},
	})
}

// make makes a service and returns its ID.
func (e engineAPI) make(ctx context.Context, spec swarm.ServiceSpec) (string, error) {
	var made struct{ ID string }
	err := e.call(ctx, http.MethodPost, "/services/create", spec, &made)
	return made.ID, err
}

// tasks are all of a service.
func (e engineAPI) tasks(ctx context.Context, service string) (tasks []swarm.Task, err error) {
	filters, err := json.Marshal(map[string][]string{"service": {service}})
	if err != nil {
		return nil, err
	}
	err = e.call(ctx, http.MethodGet, "/tasks?filters="+url.QueryEscape(string(filters)), nil, &tasks)
	return tasks, err
}

// lookEvery is how often a waiting client asks, as the CLI does with --detach=false.
const lookEvery = 100 * time.Millisecond

// awaitTasks asks for the service's tasks until enough run, and returns all. A task that fails is an error.
func (e engineAPI) awaitTasks(ctx context.Context, service string, want int) (tasks []swarm.Task, err error) {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for {
		if tasks, err = e.tasks(ctx, service); err != nil {
			return nil, err
		}
		running := 0
		for _, t := range tasks {
			if t.Status.State == swarm.TaskStateRunning {
				running++
			}
			if t.Status.State == swarm.TaskStateRejected || t.Status.State == swarm.TaskStateFailed {
				return nil, fmt.Errorf("task %s: %s", t.ID, t.Status.Err)
			}
		}
		if running >= want {
			return tasks, nil
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("%w: %d of %d tasks run", context.Cause(ctx), running, want)
		case <-tick.C:
		}
	}
}

// await asks until yes says so.
func await(ctx context.Context, what string, yes func() bool) error {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for !yes() {
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s: %w", what, context.Cause(ctx))
		case <-tick.C:
		}
	}
	return nil
}

// median of an odd or even number of durations.
func median(ds []time.Duration) time.Duration {
	ds = slices.Sorted(slices.Values(ds))
	return (ds[(len(ds)-1)/2] + ds[len(ds)/2]) / 2
}

func must(tb testing.TB, err error) {
	tb.Helper()
	if err != nil {
		tb.Fatal(strings.TrimSpace(err.Error()))
	}
}
