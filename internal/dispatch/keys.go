package dispatch

import (
	"context"
	"slices"

	"shoal/internal/cluster"
	"shoal/internal/store"
)

// rings are the keys of an encrypted network that are in use, the older generation first, and the one to send by. Pure.
func rings(r store.Reader, n *cluster.Network) (list []cluster.Ring, sends uint64) {
	if n.Keys == nil {
		return nil, 0
	}
	for _, generation := range slices.Sorted(slices.Values([]uint64{n.Keys.Sends, n.Keys.Other})) {
		if generation == 0 {
			continue
		}
		ring := cluster.Ring{Generation: generation}
		for node := range store.Nodes.All(r) {
			for _, k := range node.Keys {
				if k.NetworkID == n.ID && k.Generation == generation {
					ring.Keys = append(ring.Keys, cluster.NodeKey{NodeID: node.ID, Public: k.Public, Port: k.Port})
				}
			}
		}
		list = append(list, ring)
	}
	return list, n.Keys.Sends
}

// keys writes what a node has made for encrypted networks, unless the store has it.
func (t *term) keys(ctx context.Context, nodeID string, keys []cluster.OwnKey) error {
	if have := store.Nodes.Get(t.store.View(), nodeID); have != nil && slices.Equal(have.Keys, keys) {
		return nil
	}
	_, err := t.store.Update(ctx, func(tx *store.Tx) error {
		have := store.Nodes.Get(tx, nodeID)
		if have == nil {
			return errRemoved
		}
		n := *have
		n.Keys = keys
		store.Nodes.Put(tx, &n)
		return nil
	})
	return err
}

// keyed notes the networks whose keys a change of a node concerns.
func (t *touched) keyed(old, now *cluster.Node) {
	var before, after []cluster.OwnKey
	if old != nil {
		before = old.Keys
	}
	if now != nil {
		after = now.Keys
	}
	if slices.Equal(before, after) {
		return
	}
	for _, lists := range [][2][]cluster.OwnKey{{before, after}, {after, before}} {
		for _, k := range lists[0] {
			if !slices.Contains(lists[1], k) {
				t.network(k.NetworkID)
			}
		}
	}
}
