package manager

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"time"

	"github.com/moby/moby/api/types/swarm"

	"shoal/internal/cluster"
	"shoal/internal/store"
)

// KeysConfig says what the change of encrypted networks' keys works with. Log may be nil.
type KeysConfig struct {
	Store *store.Store
	// Applied and Moved are those of [Config].
	Applied func() uint64
	Moved   func() <-chan struct{}
	Log     *slog.Logger
}

// Bounds of a change of keys.
const (
	// keySettle is how long all nodes have a generation before packets are sent by it, so that they have shaken hands even
	// if a message of it was lost, and how long the one before is taken after that, for packets on their way.
	keySettle = 6 * time.Second
	// keyPatience is how long the nodes have to make new keys; then it is tried again after keyAgain.
	keyPatience = time.Minute
	keyAgain    = 10 * time.Minute
	keyRetry    = time.Second
)

// Keys changes the keys of encrypted networks when their time has come. It runs while this node leads, and keeps nothing
// that the store has not.
//
// First every node makes a key of the new generation and takes packets by it; when all have said that they have all the
// others' new keys, all are told to send by it; when all do, the old generation goes.
func Keys(ctx context.Context, cfg KeysConfig) error {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	for ctx.Err() == nil {
		moved := cfg.Moved() // before Applied is read, so that no change is missed
		v := cfg.Store.View()
		wake, busy, err := turnAll(ctx, cfg)
		if errors.Is(err, store.ErrNotLeader) {
			return err
		}
		if err != nil && ctx.Err() == nil {
			cfg.Log.Warn("the keys of an encrypted network not changed, will try again", "error", err)
			wake = keyRetry
		}
		if !busy {
			moved = nil
		}
		awaitKeys(ctx, cfg.Store, v.Index(), wake, moved)
	}
	return nil
}

// turnAll looks at all encrypted networks. wake is when to look again, at the latest; busy says that a change is under way.
func turnAll(ctx context.Context, cfg KeysConfig) (wake time.Duration, busy bool, _ error) {
	look := func(r store.Reader, now time.Time, change func(*cluster.Network)) {
		applied := cfg.Applied()
		wake, busy = cluster.DefaultKeyPeriod, false
		nodes := slices.Collect(store.Nodes.All(r))
		for n := range store.Networks.All(r) {
			if n.Keys == nil {
				continue
			}
			next, at := turn(n, nodes, applied, now)
			if next != nil {
				changed := *n
				changed.Keys = next
				change(&changed)
			}
			busy = busy || n.Keys.Other != 0
			wake = min(wake, max(0, at.Sub(now)))
		}
	}
	var changed []*cluster.Network
	note := func(n *cluster.Network) { changed = append(changed, n) }
	look(cfg.Store.View(), cfg.Store.Now(), note)
	if len(changed) == 0 {
		return wake, busy, nil
	}
	_, err := cfg.Store.Update(ctx, func(tx *store.Tx) error {
		changed = nil
		look(tx, tx.Now(), note)
		for _, n := range changed {
			store.Networks.Put(tx, n)
		}
		return nil
	})
	for _, n := range changed {
		if err == nil {
			cfg.Log.Info("the keys of an encrypted network change", "network", n.Spec.Name, "sends", n.Keys.Sends, "other", n.Keys.Other)
		}
	}
	return 0, busy, err
}

// turn says how the keys of a network go on: nil while there is nothing to do, and when to look again. Pure.
func turn(n *cluster.Network, nodes []*cluster.Node, applied uint64, now time.Time) (*cluster.KeyChange, time.Time) {
	k := *n.Keys
	switch {
	case k.Other == 0 && now.Before(k.Due):
		return nil, k.Due
	case k.Other == 0:
		k.Other, k.Moved, k.Ready = k.Sends+1, now, time.Time{}
	case k.Other < k.Sends: // the nodes send by the new one
		if at := k.Moved.Add(keySettle); applied < n.Version.Index || now.Before(at) {
			return nil, later(at, now)
		}
		k.Other, k.Moved, k.Due = 0, now, now.Add(n.KeyPeriod())
	case !ready(n, nodes, applied):
		if at := k.Moved.Add(keyPatience); now.Before(at) {
			return nil, at
		}
		k.Other, k.Moved, k.Ready, k.Due = 0, now, time.Time{}, now.Add(min(keyAgain, n.KeyPeriod()))
	case k.Ready.IsZero():
		k.Ready = now
	default:
		if at := k.Ready.Add(keySettle); now.Before(at) {
			return nil, at
		}
		k.Sends, k.Other, k.Moved, k.Ready = k.Other, k.Sends, now, time.Time{}
	}
	return &k, now
}

// later is a time to look again that is not already past: what is waited for has no time of its own.
func later(at, now time.Time) time.Time {
	if at.After(now) {
		return at
	}
	return now.Add(keySettle)
}

// ready says whether every READY node of the network has told its new key, and has all the others'.
func ready(n *cluster.Network, nodes []*cluster.Node, applied uint64) bool {
	index := n.Version.Index
	for _, node := range nodes {
		if node.Status.State != swarm.NodeStateReady || !hasKey(node, n.ID, n.Keys.Sends) {
			continue
		}
		if !hasKey(node, n.ID, n.Keys.Other) {
			return false
		}
		index = max(index, node.Version.Index)
	}
	return applied >= index
}

func hasKey(node *cluster.Node, networkID string, generation uint64) bool {
	return slices.ContainsFunc(node.Keys, func(k cluster.OwnKey) bool { return k.NetworkID == networkID && k.Generation == generation })
}

// awaitKeys waits for a change that concerns the keys, for that time at most.
func awaitKeys(ctx context.Context, s *store.Store, index uint64, most time.Duration, moved <-chan struct{}) {
	ctx, cancel := context.WithTimeout(ctx, most)
	defer cancel()
	if moved != nil {
		go func() { // ends with ctx
			select {
			case <-moved:
				cancel()
			case <-ctx.Done():
			}
		}()
	}
	for ev, err := range s.Watch(ctx, index) {
		if err != nil || concernsKeys(ev) {
			return
		}
	}
}

func concernsKeys(ev store.Event) bool {
	return slices.ContainsFunc(ev.Changes, func(c store.Change) bool {
		switch o := either(c.Old, c.New).(type) {
		case *cluster.Network:
			return o.Keys != nil
		case *cluster.Node:
			old, _ := c.Old.(*cluster.Node)
			now, _ := c.New.(*cluster.Node)
			return old == nil || now == nil || old.Status.State != now.Status.State || !slices.Equal(old.Keys, now.Keys)
		}
		return false
	})
}
