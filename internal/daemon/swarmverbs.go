package daemon

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"time"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/swarm"

	"shoal/internal/ca"
	"shoal/internal/cluster"
	"shoal/internal/controlplane"
	"shoal/internal/rpc"
	"shoal/internal/store"
)

// Docker's sentences, which clients match on.
var (
	errInSwarm = cluster.Errorf(errdefs.ErrUnavailable, `This node is already part of a swarm. Use "docker swarm leave" to leave this swarm and join another one.`)
	errNoSwarm = cluster.Errorf(errdefs.ErrUnavailable, `This node is not part of a swarm`)
	errNoRole  = cluster.Errorf(errdefs.ErrUnavailable, `This node is not a swarm manager. Use "docker swarm init" or "docker swarm join" to connect this node to swarm and try again.`)
	errWorker  = cluster.Errorf(errdefs.ErrUnavailable, "This node is not a swarm manager. Worker nodes can't be used to view or modify cluster state. Please run this command on a manager node or promote the current node to a manager.")
	errOpen    = cluster.Errorf(errdefs.ErrConflict, "swarm is not locked")
	errBadKey  = cluster.Errorf(errdefs.ErrUnauthenticated, "swarm could not be unlocked: invalid key provided")
	errLocked  = cluster.Errorf(errdefs.ErrUnavailable, "%s", ca.ErrLocked.Error())
)

// initTime bounds how long a new swarm may take to elect its one manager and store its first objects.
const initTime = 30 * time.Second

// leaveTime bounds how long a node that leaves waits for the swarm to hear of it.
const leaveTime = 10 * time.Second

// Init makes this machine the first manager of a new swarm.
func (n *node) Init(ctx context.Context, req swarm.InitRequest) (string, error) {
	n.verbs.Lock()
	defer n.verbs.Unlock()
	if n.localState() != swarm.LocalNodeStateInactive {
		if req.ForceNewCluster {
			return n.forceNewCluster(ctx, req)
		}
		return "", errInSwarm
	}
	ms, err := n.addresses(req.ListenAddr, req.AdvertiseAddr, req.DataPathAddr)
	if err != nil {
		return "", err
	}
	ms.NodeID = cluster.NewID()
	c, bundle, err := newSwarm(ms.NodeID, req)
	if err != nil {
		return "", err
	}
	if err := n.found(ctx, ms, c, bundle, req.Availability); err != nil {
		return "", errors.Join(err, n.abandon())
	}
	n.startAgent()
	n.log.Info("swarm initialized", "node", ms.NodeID, "advertise", ms.Advertise)
	return ms.NodeID, nil
}

// newSwarm makes the swarm's trust and the first manager's certificate.
func newSwarm(nodeID string, req swarm.InitRequest) (*cluster.Cluster, ca.Bundle, error) {
	now := time.Now()
	c := new(cluster.Cluster)
	c.ID = cluster.NewID()
	c.Spec, c.DefaultAddrPool, c.SubnetSize, c.DataPathPort = req.Spec, req.DefaultAddrPool, req.SubnetSize, req.DataPathPort
	config := &c.Spec.CAConfig
	if err := ca.NewCluster(c, []byte(config.SigningCACert), []byte(config.SigningCAKey), now); err != nil {
		return nil, ca.Bundle{}, err
	}
	config.SigningCAKey = "" // it lies in Root, where no listing looks
	if req.AutoLockManagers {
		c.Spec.EncryptionConfig.AutoLockManagers = true
	}
	if c.Spec.EncryptionConfig.AutoLockManagers {
		c.UnlockKey = ca.NewUnlockKey()
	}
	root, err := ca.Signer(c.Root)
	if err != nil {
		return nil, ca.Bundle{}, err
	}
	key, csr, err := ca.NewRequest()
	if err != nil {
		return nil, ca.Bundle{}, err
	}
	expiry := config.NodeCertExpiry
	if expiry == 0 {
		expiry = ca.DefaultExpiry
	}
	chain, err := root.Sign(csr, ca.Subject{NodeID: nodeID, ClusterID: c.ID, Role: swarm.NodeRoleManager}, expiry, now)
	if err != nil {
		return nil, ca.Bundle{}, err
	}
	return c, ca.Bundle{Chain: chain, Key: key, Root: c.Root.Cert, DataKey: newDataKey()}, nil
}

// found brings the manager's parts up and stores the swarm's first objects. The mark on disk comes last.
func (n *node) found(ctx context.Context, ms *membership, c *cluster.Cluster, bundle ca.Bundle, availability swarm.NodeAvailability) error {
	if err := os.MkdirAll(swarmDir(n.cfg.DataRoot), 0o700); err != nil {
		return err
	}
	if err := n.files.Save(bundle, c.UnlockKey); err != nil {
		return err
	}
	if err := n.activate(ms, bundle, c.UnlockKey, true); err != nil {
		return err
	}
	first, err := n.firstNode(ctx, ms, availability)
	if err != nil {
		return err
	}
	first.Cert.Role = swarm.NodeRoleManager
	first.Cert.PEM, first.Cert.Expires = bundle.Chain, n.identity.Leaf().NotAfter
	ctx, cancel := context.WithTimeout(ctx, initTime)
	defer cancel()
	if err := n.managing.whenLeading(ctx, func(tx *store.Tx) error { return controlplane.Bootstrap(tx, c, first) }); err != nil {
		return err
	}
	return ms.save(n.cfg.DataRoot)
}

// firstNode is the object of the swarm's first manager.
func (n *node) firstNode(ctx context.Context, ms *membership, availability swarm.NodeAvailability) (*cluster.Node, error) {
	description, err := n.executor.Describe(ctx)
	if err != nil {
		return nil, err
	}
	if availability == "" {
		availability = swarm.NodeAvailabilityActive
	}
	first := new(cluster.Node)
	first.ID, first.DataAddr = ms.NodeID, ms.DataAddr
	first.Spec = swarm.NodeSpec{Role: swarm.NodeRoleManager, Availability: availability}
	first.Description = description
	first.Description.TLSInfo = n.identity.TLSInfo()
	first.Status = swarm.NodeStatus{State: swarm.NodeStateUnknown, Addr: ms.Advertise.Addr().String()}
	first.ManagerStatus = &swarm.ManagerStatus{Addr: ms.Advertise.String(), Reachability: swarm.ReachabilityReachable}
	return first, nil
}

// abandon undoes a half-made membership.
func (n *node) abandon() error {
	err := n.halt()
	n.become(swarm.LocalNodeStateInactive, nil, nil)
	return errors.Join(err, forgetMembership(n.cfg.DataRoot))
}

// addresses works out where the node is reached; every part may be left open by the user.
func (n *node) addresses(listen, want, data string) (*membership, error) {
	all, err := links()
	if err != nil {
		return nil, err
	}
	if want == "" {
		want = cmp.Or(n.cfg.MoveTo, n.cfg.Advertise)
	}
	ms := new(membership)
	if ms.ListenAddr, err = listenAddr(listen, all); err != nil {
		return nil, err
	}
	if ms.Advertise, err = advertise(want, listen, all); err != nil {
		return nil, err
	}
	ms.DataAddr, err = dataAddr(data, ms.Advertise.Addr(), all)
	return ms, err
}

// Join makes this machine a node of an existing swarm, with the role of its token.
func (n *node) Join(ctx context.Context, req swarm.JoinRequest) error {
	n.verbs.Lock()
	defer n.verbs.Unlock()
	if n.localState() != swarm.LocalNodeStateInactive {
		return errInSwarm
	}
	if len(req.RemoteAddrs) == 0 {
		return cluster.Errorf(errdefs.ErrInvalidArgument, "at least 1 RemoteAddr is required to join")
	}
	remotes, err := withPorts(req.RemoteAddrs)
	if err != nil {
		return err
	}
	ms, err := n.addresses(req.ListenAddr, req.AdvertiseAddr, req.DataPathAddr)
	if err != nil && req.AdvertiseAddr == "" { // several links: the one that leads to the manager is meant
		ms, err = n.addressesTowards(remotes[0], req)
	}
	if err != nil {
		return err
	}
	for _, r := range remotes {
		ms.Managers = append(ms.Managers, swarm.Peer{Addr: r})
	}
	if err := n.enter(ctx, ms, req); err != nil {
		return errors.Join(err, n.abandon())
	}
	n.startAgent()
	n.log.Info("joined a swarm", "node", ms.NodeID, "role", n.identity.Subject().Role)
	return nil
}

// enter gets the certificate, and the vote when it is a manager's.
func (n *node) enter(ctx context.Context, ms *membership, req swarm.JoinRequest) error {
	hostname, err := os.Hostname()
	if err != nil {
		return err
	}
	bundle, err := rpc.Join(ctx, rpc.Membership{
		Managers: req.RemoteAddrs, Token: req.JoinToken, Availability: req.Availability, Hostname: hostname,
		Addr: ms.Advertise.Addr().String(), DataAddr: ms.DataAddr.String(),
	})
	if err != nil {
		return err
	}
	bundle.DataKey = newDataKey()
	if err := os.MkdirAll(swarmDir(n.cfg.DataRoot), 0o700); err != nil {
		return err
	}
	if err := n.files.Save(bundle, nil); err != nil {
		return err
	}
	identity, err := ca.NewIdentity(bundle)
	if err != nil {
		return err
	}
	ms.NodeID = identity.Subject().NodeID
	if err := n.activate(ms, bundle, nil, false); err != nil {
		return err
	}
	if n.managing != nil {
		if err := n.joinGroup(ctx, n.managing, ms, req.RemoteAddrs); err != nil {
			return err
		}
	}
	return ms.save(n.cfg.DataRoot)
}

// addressesTowards advertises the address that the kernel would send from to reach a manager.
func (n *node) addressesTowards(manager string, req swarm.JoinRequest) (*membership, error) {
	conn, err := net.Dial("udp", manager) // sends nothing: it only asks the kernel for a route
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	local, err := netip.ParseAddrPort(conn.LocalAddr().String())
	if err != nil {
		return nil, err
	}
	return n.addresses(req.ListenAddr, local.Addr().Unmap().String(), req.DataPathAddr)
}

func withPorts(remotes []string) ([]string, error) {
	for i, r := range remotes {
		host, port, err := splitPort(r)
		if err != nil {
			return nil, err
		}
		if port == "" {
			port = defaultPort
		}
		remotes[i] = net.JoinHostPort(host, port)
	}
	return remotes, nil
}

// Leave takes the node out of its swarm: its tasks end, its certificate is forgotten.
func (n *node) Leave(ctx context.Context, force bool) error {
	n.verbs.Lock()
	defer n.verbs.Unlock()
	n.mu.RLock()
	state, m, a := n.state, n.managing, n.agent
	n.mu.RUnlock()
	if state == swarm.LocalNodeStateInactive {
		return errNoSwarm
	}
	if state == swarm.LocalNodeStateLocked && !force {
		return errLocked
	}
	if m != nil && !force {
		return m.leaveWarning()
	}
	if a != nil {
		n.sayGoodbye(ctx, m)
	}
	err := n.halt()
	err = errors.Join(err, n.dropTasks(ctx), n.network.Set(ctx, cluster.NetworkState{}))
	if err := errors.Join(err, forgetMembership(n.cfg.DataRoot)); err != nil {
		return fmt.Errorf("leaving the swarm: %w", err)
	}
	n.become(swarm.LocalNodeStateInactive, nil, nil)
	return nil
}

// sayGoodbye tells the swarm, as far as somebody hears it. A node that leaves by force goes in any case.
func (n *node) sayGoodbye(ctx context.Context, m *managing) {
	ctx, cancel := context.WithTimeout(ctx, leaveTime)
	defer cancel()
	if m != nil {
		if len(m.raft.Servers()) < 2 {
			return // the swarm ends with this node
		}
		if m.raft.IsLeader() {
			if err := m.raft.Transfer(); err != nil {
				n.log.Warn("nobody took over the lead", "error", err)
			}
		}
	}
	for _, addr := range n.knownManagers() {
		n.mu.RLock()
		own := n.member.Advertise.String()
		n.mu.RUnlock()
		if addr == own {
			continue
		}
		client, err := rpc.Dial(ctx, n.identity, addr)
		if err != nil {
			continue
		}
		err = client.Leave(ctx)
		client.Close()
		if err == nil {
			return
		}
		n.log.Warn("the swarm did not take note of the leaving", "manager", addr, "error", err)
	}
}

// dropTasks ends and removes the containers of the swarm's tasks.
func (n *node) dropTasks(ctx context.Context) error {
	running, err := n.executor.List(ctx)
	if err != nil {
		return err
	}
	errs := make(chan error, len(running))
	for _, r := range running {
		go func() { errs <- errors.Join(n.executor.Stop(ctx, r.TaskID), n.executor.Remove(ctx, r.TaskID)) }()
	}
	for range running {
		err = errors.Join(err, <-errs)
	}
	return err
}

// Unlock opens a locked node with the key that users see as SWMKEY-1-….
func (n *node) Unlock(_ context.Context, key string) error {
	n.verbs.Lock()
	defer n.verbs.Unlock()
	n.mu.RLock()
	state, ms := n.state, n.member
	n.mu.RUnlock()
	switch state {
	case swarm.LocalNodeStateInactive:
		return errNoSwarm
	case swarm.LocalNodeStateLocked:
	default:
		return errOpen
	}
	raw, err := ca.ParseUnlockKey(key)
	if err != nil {
		return err
	}
	if err := n.resume(ms, raw); err != nil {
		return err
	}
	if n.localState() == swarm.LocalNodeStateLocked {
		return errBadKey
	}
	n.startAgent()
	return nil
}

func (n *node) localState() swarm.LocalNodeState {
	n.mu.RLock()
	defer n.mu.RUnlock()
	return n.state
}

// Control is the verbs on the swarm's objects, on a manager.
func (n *node) Control() (*controlplane.Control, error) {
	n.mu.RLock()
	defer n.mu.RUnlock()
	switch {
	case n.state == swarm.LocalNodeStateLocked:
		return nil, errLocked
	case n.state == swarm.LocalNodeStateError:
		return nil, cluster.Errorf(errdefs.ErrUnavailable, "the node's part in the swarm does not start: %v", n.trouble)
	case n.state != swarm.LocalNodeStateActive:
		return nil, errNoRole
	case n.managing == nil:
		return nil, errWorker
	}
	return n.managing.control, nil
}

// Leader says who answers for the swarm's objects now.
func (n *node) Leader() (http.Handler, bool) {
	n.mu.RLock()
	m := n.managing
	n.mu.RUnlock()
	if m == nil {
		return nil, false
	}
	if m.raft.IsLeader() {
		return nil, m.speaks()
	}
	id := m.raft.Leader()
	if _, ok := m.raftAddr(id); id == "" || id == m.id || !ok {
		return nil, false
	}
	return m.forward, false
}
