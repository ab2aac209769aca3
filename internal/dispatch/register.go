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
	if have.Status.State == swarm.NodeStateReady && have.Status.Addr != "" && sameEncoding(&have.Description, up.Description) {
		return nil
	}
	_, err := t.store.Update(ctx, func(tx *store.Tx) error {
		have := store.Nodes.Get(tx, caller.ID)
		if have == nil {
			return errRemoved
		}
		n := *have
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

func sameEncoding(a, b *swarm.NodeDescription) bool {
	x, err := cluster.Marshal(a)
	if err != nil {
		return false
	}
	y, err := cluster.Marshal(b)
	return err == nil && bytes.Equal(x, y)
}
