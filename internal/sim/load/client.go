package load

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"

	"github.com/moby/moby/api/types/swarm"
)

// client speaks the Docker API to one manager, over its socket.
type client struct{ http http.Client }

func newClient(socket string) *client {
	return &client{http.Client{Transport: &http.Transport{
		MaxIdleConnsPerHost: 16,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", socket)
		},
	}}}
}

// do sends in (nil: no body) and decodes the answer into out; nil drops it, an io.Writer gets it as it came.
func (c *client) do(ctx context.Context, method, path string, in, out any) error {
	var body io.Reader
	if in != nil {
		b, err := json.Marshal(in)
		if err != nil {
			return err
		}
		body = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(ctx, method, "http://shoal/v1.45"+path, body)
	if err != nil {
		return err
	}
	if in != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode >= 300 {
		var refusal struct{ Message string }
		if json.NewDecoder(resp.Body).Decode(&refusal) != nil || refusal.Message == "" {
			refusal.Message = resp.Status
		}
		return fmt.Errorf("%s %s: %w", method, path, errors.New(refusal.Message))
	}
	switch to := out.(type) {
	case nil:
		_, err = io.Copy(io.Discard, resp.Body)
		return err
	case io.Writer:
		_, err = io.Copy(to, resp.Body)
		return err
	}
	return json.NewDecoder(resp.Body).Decode(out)
}

// init makes the manager the first of a swarm. It is drained, so that the agents alone run tasks.
func (c *client) init(ctx context.Context, addr string) error {
	return c.do(ctx, http.MethodPost, "/swarm/init", swarm.InitRequest{
		ListenAddr: addr, AdvertiseAddr: addr, Availability: swarm.NodeAvailabilityDrain,
	}, nil)
}

// join makes the manager another one of that swarm.
func (c *client) join(ctx context.Context, addr, remote, token string) error {
	return c.do(ctx, http.MethodPost, "/swarm/join", swarm.JoinRequest{
		ListenAddr: addr, AdvertiseAddr: addr, RemoteAddrs: []string{remote}, JoinToken: token, Availability: swarm.NodeAvailabilityDrain,
	}, nil)
}

func (c *client) tokens(ctx context.Context) (swarm.JoinTokens, error) {
	var s swarm.Swarm
	err := c.do(ctx, http.MethodGet, "/swarm", nil, &s)
	return s.JoinTokens, err
}

// What `service ls` and `node ls` ask for.
const (
	listServices = "/services?status=true"
	listNodes    = "/nodes"
)

// get is an answer as it came.
func (c *client) get(ctx context.Context, path string) (json.RawMessage, error) {
	var answer bytes.Buffer
	err := c.do(ctx, http.MethodGet, path, nil, &answer)
	return answer.Bytes(), err
}

func (c *client) nodes(ctx context.Context) ([]swarm.Node, error) {
	var list []swarm.Node
	err := c.do(ctx, http.MethodGet, listNodes, nil, &list)
	return list, err
}

func (c *client) services(ctx context.Context) ([]swarm.Service, error) {
	var list []swarm.Service
	err := c.do(ctx, http.MethodGet, listServices, nil, &list)
	return list, err
}

func (c *client) service(ctx context.Context, ref string) (swarm.Service, error) {
	var s swarm.Service
	err := c.do(ctx, http.MethodGet, "/services/"+ref, nil, &s)
	return s, err
}

func (c *client) create(ctx context.Context, spec swarm.ServiceSpec) error {
	return c.do(ctx, http.MethodPost, "/services/create", spec, nil)
}

func (c *client) update(ctx context.Context, s swarm.Service) error {
	return c.do(ctx, http.MethodPost, fmt.Sprintf("/services/%s/update?version=%d", s.ID, s.Version.Index), s.Spec, nil)
}

// config stores a config: a write that concerns no task.
func (c *client) config(ctx context.Context, name string) error {
	return c.do(ctx, http.MethodPost, "/configs/create", swarm.ConfigSpec{Annotations: swarm.Annotations{Name: name}, Data: []byte(name)}, nil)
}
