package daemon

import (
	"context"
	"errors"
	"os"
	"sync"
	"time"

	"github.com/moby/moby/api/types/swarm"

	"shoal/internal/api"
	"shoal/internal/ca"
	"shoal/internal/raftstore"
	"shoal/internal/rpc"
	"shoal/internal/store"
)

// settleTime is how long the survey gives an election that may be under way, and each manager to answer.
const settleTime = 2 * time.Second

// Survey says what this manager knows of its swarm and whom of the other managers it reaches.
func (n *node) Survey(ctx context.Context) (api.Survey, error) {
	if _, err := n.Control(); err != nil {
		return api.Survey{}, err
	}
	n.mu.RLock()
	m, ms, subject := n.managing, n.member, n.identity.Subject()
	n.mu.RUnlock()
	v, tail := m.store.View(), m.raft.Tail()
	s := api.Survey{
		ClusterID: subject.ClusterID, NodeID: ms.NodeID, LogIndex: tail.Index, LogTerm: tail.Term,
		Services: store.Services.Len(v),
	}
	for t := range store.Tasks.All(v) {
		if t.Status.State == swarm.TaskStateRunning && t.DesiredState == swarm.TaskStateRunning {
			s.Running++
		}
	}
	for _, server := range m.raft.Servers() {
		s.Managers = append(s.Managers, surveyed(v, server, ms.NodeID))
	}
	var wg sync.WaitGroup
	wg.Go(func() { s.Leader = m.awaitLeader(ctx) })
	for i := range s.Managers {
		if other := &s.Managers[i]; !other.Self {
			wg.Go(func() { other.Answers = n.answers(ctx, other.Addr) })
		}
	}
	wg.Wait()
	return s, nil
}

func surveyed(v store.View, server raftstore.Server, self string) api.SurveyManager {
	out := api.SurveyManager{ID: server.ID, Addr: server.Addr, Voter: server.Voter, Self: server.ID == self}
	if o := store.Nodes.Get(v, server.ID); o != nil {
		out.Hostname = o.Description.Hostname
		if o.ManagerStatus != nil && o.ManagerStatus.Addr != "" {
			out.Addr = o.ManagerStatus.Addr
		}
	}
	return out
}

// answers says whether a manager of the swarm speaks at that address. One that is locked or does not run does not.
func (n *node) answers(ctx context.Context, addr string) bool {
	ctx, cancel := context.WithTimeout(ctx, settleTime)
	defer cancel()
	client, err := rpc.Dial(ctx, n.identity, addr)
	if err != nil {
		return false
	}
	defer client.Close()
	_, err = client.Leader(ctx)
	return err == nil
}

// awaitLeader is the leader's ID; empty when there is none after a while.
func (m *managing) awaitLeader(ctx context.Context) string {
	over := time.After(settleTime)
	again := time.NewTicker(settleTime / 30)
	defer again.Stop()
	for {
		if id := m.raft.Leader(); id != "" {
			return id
		}
		select {
		case <-again.C:
		case <-over:
			return ""
		case <-ctx.Done():
			return ""
		}
	}
}

// Disk is what the data root of a manager that is stopped tells without any key.
type Disk struct {
	ClusterID, NodeID string
	Advertise         string // host:port
	Log               raftstore.Tail
}

// LookAt reads the data root of a stopped manager. The error is of class NotFound when there is none, Conflict when its
// daemon runs.
func LookAt(dataRoot string) (Disk, error) {
	if _, err := os.Stat(stateFile(dataRoot)); err != nil {
		return Disk{}, err
	}
	ms, err := loadMembership(dataRoot)
	if err != nil {
		return Disk{}, err
	}
	d := Disk{NodeID: ms.NodeID, Advertise: ms.Advertise.String()}
	bundle, err := certificates(dataRoot).Load(nil)
	if err != nil && !errors.Is(err, ca.ErrLocked) {
		return d, err
	}
	certs, err := ca.ParseCerts(bundle.Chain)
	if err != nil {
		return d, err
	}
	subject, err := ca.SubjectOf(certs[0])
	if err != nil {
		return d, err
	}
	d.ClusterID = subject.ClusterID
	d.Log, err = raftstore.TailOf(raftDir(dataRoot))
	return d, err
}
