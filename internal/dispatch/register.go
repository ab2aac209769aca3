package dispatch

import (
	"bytes"
	"context"

	"github.com/moby/moby/api/types/swarm"

	"shoal/internal/cluster"
	"shoal/internal/rpc"
	"shoal/internal/store"
)

// register writes that a node is READY and what it says of itself, unless the store has it all.
func (t *term) register(ctx context.Context, caller rpc.Caller, up *cluster.Up) error {
	view := t.store.View()
	have := store.Nodes.Get(view, caller.ID)
	if have == nil {
		return errRemoved
	}
	same := settled(have, up)
	// The transaction may find more than the view has: that the node is DOWN, say, on its way to being committed.
	_, err := t.store.Update(ctx, func(tx *store.Tx) error {
		now := store.Nodes.Get(tx, caller.ID)
		if now == nil {
			return errRemoved
		}
		if now == have && same || now != have && settled(now, up) {
			return nil
		}
		n := *now
		n.Description = *up.Description
		n.Status.State, n.Status.Message = swarm.NodeStateReady, ""
		if n.Status.Addr == "" {
			n.Status.Addr = caller.Addr
		}
		store.Nodes.Put(tx, &n)
		return nil
	})
	return err
}

// settled says that the store has all that a node says of itself.
func settled(have *cluster.Node, up *cluster.Up) bool {
	return have.Status.State == swarm.NodeStateReady && have.Status.Addr != "" && sameEncoding(&have.Description, up.Description)
}

func sameEncoding(a, b *swarm.NodeDescription) bool {
	x, err := cluster.Marshal(a)
	if err != nil {
		return false
	}
	y, err := cluster.Marshal(b)
	return err == nil && bytes.Equal(x, y)
}
