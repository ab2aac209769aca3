package daemon

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/containerd/errdefs"
	apinet "github.com/moby/moby/api/types/network"

	"shoal/internal/cluster"
	"shoal/internal/network"
	"shoal/internal/rpc"
)

// places is the node's network with the swarm's attachable networks in it: a plain container that names one gets its
// place from the leader, keeps it while it has a sandbox, and the leader gets it back afterwards. What the store has of
// this node and what the containers really hold is compared after every change and in every new session with the leader,
// so that nothing has to be remembered.
type places struct {
	*network.Network
	log *slog.Logger
	// session is the connection to the leader, nil while there is none, and a channel that is closed when that changes.
	// It is set before begun is closed: containers that start themselves may want a place while the daemon comes up.
	session func() (*rpc.Client, <-chan struct{}, error)
	begun   chan struct{}
	kick    chan struct{} // holds one token: something may have to be given back
	// gate holds one token: who asks for places, or gives some back that looked unused, has it, so that no place is given
	// back that was just asked for. It is a channel since it is held over calls.
	gate chan struct{}

	mu      sync.Mutex
	joining map[string]int // containers that are on their way into a network, by ID
}

func newPlaces(n *network.Network, log *slog.Logger) *places {
	p := &places{Network: n, log: log, begun: make(chan struct{}), kick: make(chan struct{}, 1), gate: make(chan struct{}, 1), joining: map[string]int{}}
	p.gate <- struct{}{}
	return p
}

// begin says where the leader is found.
func (p *places) begin(session func() (*rpc.Client, <-chan struct{}, error)) {
	p.session = session
	close(p.begun)
}

// placeTime is how long a container's start waits for the leader.
const placeTime = 20 * time.Second

// Attach is network.Attach for containers whose local networks may be the swarm's.
func (p *places) Attach(ctx context.Context, r network.Request) (*network.Sandbox, error) {
	if box, ok := p.Sandbox(r.ContainerID); ok {
		return box, nil
	}
	defer p.join(r.ContainerID)()
	var local []network.LocalAttachment
	for _, l := range r.Local {
		own, err := p.isLocal(ctx, l.Network)
		if err != nil {
			return nil, err
		}
		if own {
			local = append(local, l)
			continue
		}
		place, err := p.ask(ctx, cluster.PlainContainer{ID: r.ContainerID, Name: r.Name}, r.Hostname, l)
		if err != nil {
			return nil, err
		}
		r.Overlays = append(r.Overlays, place.Attachment)
	}
	r.Local = local
	return p.Network.Attach(ctx, r)
}

// join notes that a container is on its way into a network until the function that it returns is called.
func (p *places) join(containerID string) func() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.joining[containerID]++
	return func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		if p.joining[containerID]--; p.joining[containerID] == 0 {
			delete(p.joining, containerID)
		}
		p.look()
	}
}

func (p *places) look() {
	select {
	case p.kick <- struct{}{}:
	default:
	}
}

func (p *places) isLocal(ctx context.Context, ref string) (bool, error) {
	_, err := p.InspectLocal(ctx, ref)
	if errdefs.IsNotFound(err) {
		return false, nil
	}
	return true, err
}

// ask gets a container its place in a network of the swarm. It waits a while for a leader.
func (p *places) ask(ctx context.Context, c cluster.PlainContainer, hostname string, l network.LocalAttachment) (*cluster.Place, error) {
	ctx, cancel := context.WithTimeout(ctx, placeTime)
	defer cancel()
	select {
	case <-p.begun:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	select {
	case <-p.gate:
		defer func() { p.gate <- struct{}{} }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	request := &cluster.AttachRequest{Network: l.Network, Container: c, Address: l.IPv4, Aliases: append([]string{c.ID[:12]}, l.Aliases...)}
	if !request.Address.IsValid() {
		request.Address = l.IPv6
	}
	if hostname != "" && hostname != c.ID[:12] {
		request.Aliases = append(request.Aliases, hostname)
	}
	for {
		client, changed, err := p.session()
		if err != nil {
			return nil, cluster.Errorf(errdefs.ErrNotFound, "network %s not found", l.Network)
		}
		if client != nil {
			place, err := client.Attach(ctx, request)
			if !errdefs.IsUnavailable(err) {
				return place, err
			}
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, cluster.Errorf(errdefs.ErrUnavailable, "could not attach to network %s: no manager of the swarm answers", l.Network)
		}
	}
}

// Detach is network.Detach; the leader gets the container's places back in time.
func (p *places) Detach(ctx context.Context, containerID string) error {
	defer p.look()
	return p.Network.Detach(ctx, containerID)
}

// Connect is network.Connect for the swarm's networks too.
func (p *places) Connect(ctx context.Context, containerID string, l network.LocalAttachment) error {
	own, err := p.isLocal(ctx, l.Network)
	if err != nil {
		return err
	}
	if own {
		return p.Network.Connect(ctx, containerID, l)
	}
	defer p.join(containerID)()
	name, err := p.NameOf(ctx, containerID)
	if err != nil {
		return err
	}
	place, err := p.ask(ctx, cluster.PlainContainer{ID: containerID, Name: name}, "", l)
	if err != nil {
		return err
	}
	return p.ConnectOverlay(ctx, containerID, place.Attachment)
}

// Disconnect is network.Disconnect; the leader gets the place back in time.
func (p *places) Disconnect(ctx context.Context, containerID, ref string) error {
	defer p.look()
	return p.Network.Disconnect(ctx, containerID, ref)
}

// lookTime bounds one comparison with the leader, lookRetry the wait after one that failed.
const (
	lookTime  = 10 * time.Second
	lookRetry = 5 * time.Second
)

// run gives unused places back until ctx ends.
func (p *places) run(ctx context.Context) {
	select {
	case <-p.begun:
	case <-ctx.Done():
		return
	}
	for {
		client, changed, err := p.session()
		if err != nil {
			return // not in a swarm any more
		}
		var retry <-chan time.Time
		if client != nil {
			if err := p.compare(ctx, client); err != nil && ctx.Err() == nil {
				p.log.Warn("unused places in the swarm's networks not given back yet", "error", err)
				retry = time.After(lookRetry)
			}
		}
		select {
		case <-p.kick:
		case <-changed:
		case <-retry:
		case <-ctx.Done():
			return
		}
	}
}

// compare gives back those places that the store has and no container holds.
func (p *places) compare(ctx context.Context, client *rpc.Client) error {
	ctx, cancel := context.WithTimeout(ctx, lookTime)
	defer cancel()
	select {
	case <-p.gate:
		defer func() { p.gate <- struct{}{} }()
	case <-ctx.Done():
		return ctx.Err()
	}
	list, err := client.Places(ctx)
	if err != nil {
		return err
	}
	var unused []string
	for _, place := range list {
		if !p.holds(place) {
			unused = append(unused, place.TaskID)
		}
	}
	if len(unused) == 0 {
		return nil
	}
	return client.Detach(ctx, unused...)
}

// holds says whether a container is in its place, or on its way there.
func (p *places) holds(place cluster.Place) bool {
	p.mu.Lock()
	joining := p.joining[place.Container.ID] > 0
	p.mu.Unlock()
	if joining {
		return true
	}
	box, ok := p.Sandbox(place.Container.ID)
	if !ok {
		return false
	}
	for _, ep := range box.Endpoints {
		if ep.NetworkID == place.Attachment.NetworkID {
			return true
		}
	}
	return false
}

// swarmNetworks lists the networks of the swarm that the leader tells this node of: those that it may use, or only those
// in use on it now.
func (p *places) swarmNetworks(ctx context.Context, used bool) ([]apinet.Inspect, error) {
	ctx, cancel := context.WithTimeout(ctx, lookTime)
	defer cancel()
	client, _, err := p.session()
	if err != nil {
		return nil, nil // in no swarm
	}
	if client == nil {
		return nil, cluster.Errorf(errdefs.ErrUnavailable, "no manager of the swarm answers")
	}
	list, err := client.Networks(ctx)
	if err != nil || !used {
		return list, err
	}
	here, err := p.Swarm(ctx)
	return slices.DeleteFunc(list, func(n apinet.Inspect) bool { return !n.Ingress && !here[n.ID] }), err
}

// errOutside says that the node is in no swarm.
var errOutside = errors.New("the node is in no swarm")
