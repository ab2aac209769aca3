package store_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/moby/moby/api/types/swarm"

	"shoal/internal/cluster"
	"shoal/internal/store"
	"shoal/internal/store/storetest"
)

// A leader whose clock is behind goes on from the time of the leader before it: whatever is newer has a later time. Its
// time runs at half the speed until its clock has caught up, and is its clock's from then on.
func TestTimeNeverGoesBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		skew := time.Minute
		s := store.NewWithClock(func() time.Time { return time.Now().Add(skew) })
		defer s.Follow()
		stamp := func() (at time.Time) {
			storetest.Update(t, s, func(tx *store.Tx) {
				at = tx.Now()
				store.Nodes.Put(tx, &cluster.Node{Node: swarm.Node{ID: "n1"}})
			})
			return at
		}
		s.Lead(storetest.Proposer{Store: s})
		first := stamp()
		skew = 0
		s.Lead(storetest.Proposer{Store: s})
		second, third := stamp(), stamp()
		if !second.After(first) || !third.After(second) || third.Sub(first) > time.Millisecond {
			t.Errorf("by a clock that is a minute behind: %s and %s after %s", second.Sub(first), third.Sub(first), first)
		}
		<-time.After(30 * time.Second)
		if went := stamp().Sub(third); went < 14*time.Second || went > 16*time.Second {
			t.Errorf("%s went by in half a minute; want half of it", went)
		}
		if now := s.Now(); !now.After(s.View().Time()) {
			t.Errorf("now is %s, the newest transaction of %s", now, s.View().Time())
		}
		<-time.After(2 * time.Minute)
		if ahead := time.Until(stamp()); ahead > time.Millisecond {
			t.Errorf("still %s ahead of the clock", ahead)
		}
	})
}
