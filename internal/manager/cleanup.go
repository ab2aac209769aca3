package manager

import (
	"context"
	"time"

	"github.com/moby/moby/api/types/swarm"

	"shoal/internal/cluster"
	"shoal/internal/raftstore"
	"shoal/internal/store"
)

// cleanupChecks is how often the managers' silence is looked at, in the time that makes one dead.
const cleanupChecks = 10

// silence is how long a manager must be unreachable to count as dead; 0: the swarm does not want it.
func silence(r store.Reader) time.Duration {
	c := store.ClusterOf(r)
	if c == nil {
		return 0
	}
	d, err := cluster.Cleanup(c.Spec.Labels) // was checked when it was set
	if err != nil {
		return 0
	}
	return d
}

// cleanUp makes a worker of a manager that is dead, if the swarm wants that and can spare it; fitGroup then takes it out
// of the Raft group. A machine that comes back gets a worker's certificate, and can be promoted again.
func cleanUp(ctx context.Context, cfg MembersConfig, after time.Duration) error {
	if after == 0 {
		return nil
	}
	servers := cfg.Group.Servers()
	dead := raftstore.Dead(servers, after, cfg.Now())
	if dead == "" {
		return nil
	}
	var demoted *cluster.Node
	_, err := cfg.Store.Update(ctx, func(tx *store.Tx) error {
		n := store.Nodes.Get(tx, dead)
		if n == nil || n.Spec.Role != swarm.NodeRoleManager || !spare(tx, servers) {
			return nil
		}
		next := *n
		next.Spec.Role, next.ManagerStatus = swarm.NodeRoleWorker, nil
		next.Status.Message = "unreachable for " + after.String() + ": no manager any more"
		store.Nodes.Put(tx, &next)
		demoted = &next
		return nil
	})
	if err == nil && demoted != nil {
		cfg.Log.Warn("a manager that does not answer is made a worker", "node", dead, "hostname", demoted.Description.Hostname, "label", cluster.CleanupLabel, "after", after)
	}
	return err
}

// spare says that the group is what the store wants it to be, so that what was judged is all there is to judge: nobody
// else is on the way out.
func spare(r store.Reader, servers []raftstore.Server) bool {
	for _, s := range servers {
		if n := store.Nodes.Get(r, s.ID); n == nil || n.Spec.Role != swarm.NodeRoleManager {
			return false
		}
	}
	return true
}
