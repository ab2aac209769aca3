package dispatch

import (
	"context"
	"reflect"
	"sync"
	"time"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/swarm"

	"shoal/internal/cluster"
	"shoal/internal/store"
)

// errNotHeard ends a session whose node was silent for too long.
var errNotHeard = cluster.Errorf(errdefs.ErrUnavailable, "this node was not heard of for too long")

// Bounds of the gathering of statuses. A lone report is written at once; while many come, they wait a little for more.
const (
	maxReports = 512                   // statuses in one commit, about
	busyReport = 8                     // so many in a commit mean that many come
	reportTime = 20 * time.Millisecond // the wait
	reportRoom = 1024                  // messages that wait for the commit before
	maxWrites  = 4                     // commits under way: a slow disk need not hold up the reports that come meanwhile
)

// report is one message with statuses.
type report struct {
	nodeID string
	up     *cluster.Up
	at     time.Time   // it came, by the cluster's time
	done   func(error) // nil: it is in the store
}

// reports writes what nodes report, many in a commit.
type reports struct {
	store *store.Store
	in    chan report
}

func newReports(config Config) *reports {
	return &reports{config.Store, make(chan report, reportRoom)}
}

// put hands a report over; it waits while too many do.
func (r *reports) put(ctx context.Context, one report) error {
	select {
	case r.in <- one:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// run writes reports until ctx ends, in the order in which they came.
func (r *reports) run(ctx context.Context) error {
	busy := false
	var wg sync.WaitGroup
	defer wg.Wait()
	writes := make(chan struct{}, maxWrites)
	before := make(chan struct{}) // closed when the batch before has its place in the order
	close(before)
	for {
		var batch []report
		select {
		case first := <-r.in:
			batch = append(batch, first)
		case <-ctx.Done():
			return ctx.Err()
		}
		batch = r.gather(ctx, batch, busy)
		busy = count(batch) >= busyReport
		select {
		case writes <- struct{}{}:
		case <-ctx.Done():
			return ctx.Err()
		}
		turn, placed := before, make(chan struct{})
		before = placed
		wg.Go(func() {
			defer func() { <-writes }()
			err := r.write(ctx, batch, turn, sync.OnceFunc(func() { close(placed) }))
			for _, one := range batch {
				one.done(err)
			}
		})
	}
}

// gather adds what has come, and when it is busy what comes in a while.
func (r *reports) gather(ctx context.Context, batch []report, busy bool) []report {
	size := count(batch)
	var late <-chan time.Time
	if busy {
		timer := time.NewTimer(reportTime)
		defer timer.Stop()
		late = timer.C
	}
	for size < maxReports {
		select {
		case one := <-r.in:
			batch = append(batch, one)
			size += len(one.up.Statuses)
			continue
		default:
		}
		if !busy {
			return batch
		}
		select {
		case one := <-r.in:
			batch = append(batch, one)
			size += len(one.up.Statuses)
		case <-late:
			return batch
		case <-ctx.Done():
			return batch
		}
	}
	return batch
}

func count(batch []report) int {
	n := 0
	for _, one := range batch {
		n += len(one.up.Statuses)
	}
	return n
}

// write commits what the batch changes, if anything, after the batch whose turn is before it; placed is called when the
// next one may follow.
func (r *reports) write(ctx context.Context, batch []report, turn <-chan struct{}, placed func()) error {
	defer placed()
	<-turn
	if view := r.store.View(); !anyNews(view, batch) {
		return nil
	}
	_, err := r.store.Update(ctx, func(tx *store.Tx) error {
		defer placed()
		for _, one := range batch {
			for _, s := range one.up.Statuses {
				t := store.Tasks.Get(tx, s.TaskID)
				if !news(t, one.nodeID, s.Status) {
					continue
				}
				next := *t
				next.Status = s.Status
				next.Status.Timestamp = timestamp(s.Status.Timestamp, one)
				if next.Status.State == swarm.TaskStateRunning && next.StartedAt.IsZero() {
					next.StartedAt = next.Status.Timestamp // here, since a pass would need a commit of its own for it
				}
				store.Tasks.Put(tx, &next)
			}
		}
		return nil
	})
	return err
}

func anyNews(view store.View, batch []report) bool {
	for _, one := range batch {
		for _, s := range one.up.Statuses {
			if news(store.Tasks.Get(view, s.TaskID), one.nodeID, s.Status) {
				return true
			}
		}
	}
	return false
}

// news says whether a report changes a task: it is its node's own, and the state is higher, or the same with something
// else to say while the task has not ended. Tasks that are unknown or another node's are nobody's business here.
func news(t *cluster.Task, nodeID string, s swarm.TaskStatus) bool {
	if t == nil || t.NodeID != nodeID {
		return false
	}
	have, got := cluster.Rank(t.Status.State), cluster.Rank(s.State)
	if have != got {
		return got > have
	}
	if cluster.Terminal(s.State) {
		return false
	}
	a, b := t.Status, s
	a.Timestamp, b.Timestamp = time.Time{}, time.Time{}
	return !reflect.DeepEqual(a, b)
}

// timestamp puts a node's time into the cluster's: the node's clock gives only how old the status was when it
// was sent.
func timestamp(at time.Time, one report) time.Time {
	if at.IsZero() || one.up.Sent.IsZero() {
		return one.at.UTC()
	}
	return one.at.Add(-max(0, one.up.Sent.Sub(at))).UTC()
}
