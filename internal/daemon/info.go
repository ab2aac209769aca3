package daemon

import (
	"context"
	"errors"

	"github.com/moby/moby/api/types/swarm"

	"shoal/internal/ca"
	"shoal/internal/store"
)

// Info is the Swarm block of /info.
func (n *node) Info(context.Context) swarm.Info {
	n.mu.RLock()
	defer n.mu.RUnlock()
	info := swarm.Info{LocalNodeState: n.state}
	if n.trouble != nil {
		info.Error = n.trouble.Error()
	}
	if n.state == swarm.LocalNodeStateLocked {
		info.Error = ca.ErrLocked.Error()
	}
	if n.member == nil {
		return info
	}
	info.NodeID = n.member.NodeID
	if n.member.Advertise.IsValid() {
		info.NodeAddr = n.member.Advertise.Addr().String()
	}
	if n.state != swarm.LocalNodeStateActive {
		return info
	}
	if n.agent != nil {
		info.RemoteManagers = n.agent.State().Managers
	}
	if len(info.RemoteManagers) == 0 {
		info.RemoteManagers = n.member.Managers
	}
	if n.managing != nil {
		n.managing.describe(&info)
	}
	return info
}

// describe adds what only a manager knows.
func (m *managing) describe(info *swarm.Info) {
	v := m.store.View()
	c := store.ClusterOf(v)
	if c == nil {
		return
	}
	info.ControlAvailable = true
	info.Nodes = store.Nodes.Len(v)
	var managers []swarm.Peer
	for node := range store.Nodes.All(v) {
		if node.Spec.Role == swarm.NodeRoleManager {
			info.Managers++
			if node.ManagerStatus != nil {
				managers = append(managers, swarm.Peer{NodeID: node.ID, Addr: node.ManagerStatus.Addr})
			}
		}
	}
	if len(managers) > 0 {
		info.RemoteManagers = managers
	}
	out, err := m.control.Swarm()
	if err != nil {
		info.Error = errors.Join(errors.New("the swarm cannot be described"), err).Error()
		return
	}
	info.Cluster = &out.ClusterInfo
}

// manager is the manager's parts; nil on a worker.
func (n *node) manager() *managing {
	n.mu.RLock()
	defer n.mu.RUnlock()
	return n.managing
}
