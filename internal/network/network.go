package network

import (
	"context"
	"errors"
	"path/filepath"
	"sync"
	"time"

	"github.com/containerd/errdefs"

	"shoal/internal/cluster"
	"shoal/internal/network/dns"
	"shoal/internal/network/kernel"
	"shoal/internal/network/plan"
	"shoal/internal/network/tunnel"
)

// Network is one node's data plane. Its methods may be called from many goroutines.
type Network struct {
	config  Config
	kernel  *kernel.Kernel
	dns     *dns.Server
	saver   *saver
	tunnels *tunnel.Tunnels

	// gate holds one token: whoever has it owns the fields below and the kernel. It is a channel and not a mutex since
	// it is held over netlink and files.
	gate   chan struct{}
	closed chan struct{}
	nodeID string
	state  cluster.NetworkState
	// links are the state's networks, and those of containers that the state has dropped; members what is in them, which
	// state and links do not list.
	links   map[string]*cluster.NetworkLink
	members map[string]*plan.Members
	looked  time.Time // when node was read
	boxes   map[string]*box
	locals  map[string]*local
	node    kernel.Node
	have    plan.Kernel              // what the kernel holds; a namespace that is missing here must be read first
	placed  map[plan.NS][]plan.Place // the containers that have's networks were made with
	names   map[string]*dns.Names
	// seen are the mesh's ports that the last state had, yielded those of them that a process of the node keeps.
	seen, yielded map[claim]bool
	own           own
	shut          string // tables of others that refuse and cannot be changed

	// mu guards what is read without the gate.
	mu      sync.Mutex
	changed chan struct{} // closed when the state changes
	ready   map[string]*Sandbox
}

// New reads what the kernel holds, repairs what differs and answers names again. The swarm's networks are kept as the
// last state had them until Set is called.
func New(config Config) (*Network, error) {
	if err := config.check(); err != nil {
		return nil, err
	}
	k, err := kernel.Open(filepath.Join(config.RunDir, "ns"), config.host)
	if err != nil {
		return nil, err
	}
	n := &Network{
		config: config, kernel: k, dns: dns.New(config.DNS, config.Log), saver: newSaver(filepath.Join(config.RunDir, "state"), config.Log),
		gate: make(chan struct{}, 1), closed: make(chan struct{}), links: map[string]*cluster.NetworkLink{}, boxes: map[string]*box{}, locals: map[string]*local{},
		have: plan.Kernel{}, placed: map[plan.NS][]plan.Place{}, names: map[string]*dns.Names{}, changed: make(chan struct{}), ready: map[string]*Sandbox{},
	}
	err = n.openTunnels()
	if err == nil {
		err = n.restore()
	}
	if err != nil {
		n.dns.Close()
		if n.tunnels != nil {
			n.tunnels.Close()
		}
		k.Close()
		return nil, err
	}
	n.gate <- struct{}{}
	go n.guard()
	return n, nil
}

// restore takes up what an earlier process left.
func (n *Network) restore() error {
	node, err := n.kernel.Node()
	if err != nil {
		return err
	}
	n.node = node
	if err := n.loadLocals(); err != nil {
		return err
	}
	n.take(n.saver.load())
	pins, err := n.kernel.Pins()
	if err != nil {
		return err
	}
	alive := map[plan.NS]bool{}
	for _, p := range pins {
		alive[p] = true
	}
	if err := n.tunnels.Retain(func(ns plan.NS) bool { return alive[ns] }); err != nil {
		return err
	}
	if err := n.loadBoxes(alive); err != nil {
		return err
	}
	ctx := context.Background()
	return n.sync(ctx, nil, n.orphans(pins))
}

// orphans are containers' namespaces that no record names.
func (n *Network) orphans(pins []plan.NS) (out []plan.NS) {
	known := map[plan.NS]bool{}
	for _, b := range n.boxes {
		known[plan.ContainerNS(b.ContainerID)] = true
	}
	for _, p := range pins {
		if kernel.IsContainer(p) && !known[p] {
			out = append(out, p)
		}
	}
	return out
}

// errClosed is what calls on a closed Network get.
var errClosed = cluster.Errorf(errdefs.ErrUnavailable, "the node's network is shut down")

// enter takes the token.
func (n *Network) enter(ctx context.Context) error {
	select {
	case <-n.gate:
		return nil
	case <-n.closed:
		return errClosed
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (n *Network) leave() { n.gate <- struct{}{} }

// Identify tells which of the state's nodes this one is. Without it the one is taken whose address is the node's own.
func (n *Network) Identify(nodeID string) {
	if n.enter(context.Background()) != nil {
		return
	}
	defer n.leave()
	n.nodeID = nodeID
}

// Sandbox is the place that Attach gave a container.
func (n *Network) Sandbox(containerID string) (*Sandbox, bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	s, ok := n.ready[containerID]
	return s, ok
}

// Close stops answering names and leaves the data plane in place, for the daemon that comes next.
func (n *Network) Close() error {
	if n.enter(context.Background()) != nil {
		return nil
	}
	close(n.closed) // and the token is never given back
	n.dns.Close()
	n.tunnels.Close()
	n.kernel.Close()
	return n.saver.close()
}

// Purge removes every trace of ours from kernel and disk. The Network is of no use after it.
func (n *Network) Purge() error {
	if err := n.enter(context.Background()); err != nil {
		return err
	}
	close(n.closed)
	var errs []error
	for _, b := range n.boxes {
		errs = append(errs, n.removeBox(b))
	}
	n.take(cluster.NetworkState{})
	pins, err := n.kernel.Pins()
	errs = append(errs, err)
	var containers []plan.NS
	for _, p := range pins {
		if kernel.IsContainer(p) {
			containers = append(containers, p)
		}
	}
	errs = append(errs, n.sync(context.Background(), nil, containers))
	n.dns.Close()
	errs = append(errs, n.tunnels.Retain(func(plan.NS) bool { return false }))
	n.tunnels.Close()
	n.kernel.Close()
	errs = append(errs, n.saver.remove(), n.removeLocals())
	return errors.Join(errs...)
}
