package daemon

import (
	"context"
	"slices"
	"sync"
	"time"

	"shoal/internal/rpc"
	"shoal/internal/store"
)

// relocate gives a member the address that --swarm-advertise-addr wants, if that is another than it had. The mark stays
// on disk until the swarm knows.
func (n *node) relocate(ms *membership) error {
	if n.cfg.MoveTo == "" {
		return nil
	}
	all, err := links()
	if err != nil {
		return err
	}
	now, err := advertise(n.cfg.MoveTo, ms.ListenAddr, all)
	if err != nil {
		return err
	}
	if now == ms.Advertise {
		return nil
	}
	n.log.Info("this node has another address now", "was", ms.Advertise, "is", now)
	if ms.DataAddr == ms.Advertise.Addr() || !has(all, ms.DataAddr) {
		ms.DataAddr = now.Addr()
	}
	ms.ListenAddr = listenAgain(ms.ListenAddr, all)
	ms.Advertise, ms.Moved = now, true
	return ms.save(n.cfg.DataRoot)
}

// moveRetry is the wait after every manager was told in vain, moveTime what one may take.
const (
	moveRetry = time.Second
	moveTime  = 5 * time.Second
)

// announce tells the swarm where this node is, until it knows.
func (n *node) announce(ctx context.Context) {
	n.mu.RLock()
	ms := *n.member
	n.mu.RUnlock()
	if !ms.Moved {
		return
	}
	for !n.tellMove(ctx, &ms) {
		select {
		case <-ctx.Done():
			return
		case <-time.After(moveRetry):
		}
	}
	n.log.Info("the swarm knows this node's new address", "address", ms.Advertise)
	n.mu.Lock()
	defer n.mu.Unlock()
	ms = *n.member
	ms.Moved = false
	if err := ms.save(n.cfg.DataRoot); err != nil {
		n.log.Error("the new address will be announced once more", "error", err)
	}
	n.member = &ms
}

// tellMove tells every manager that is known, all at once: which of them lead, or could if they found this one, shows by
// their answers.
func (n *node) tellMove(ctx context.Context, ms *membership) bool {
	ctx, cancel := context.WithTimeout(ctx, moveTime)
	defer cancel()
	addrs := n.knownManagers()
	for _, p := range ms.Managers {
		addrs = append(addrs, p.Addr)
	}
	n.mu.RLock()
	if m := n.managing; m != nil {
		addrs = append(addrs, ms.Advertise.String())
		for _, p := range rpc.Managers(m.store.View()) {
			addrs = append(addrs, p.Addr)
		}
	}
	n.mu.RUnlock()
	slices.Sort(addrs)
	request := &rpc.MoveRequest{Addr: ms.Advertise.String(), DataAddr: ms.DataAddr.String()}
	told := make(chan bool)
	addrs = slices.Compact(addrs)
	for _, addr := range addrs {
		go func() { told <- n.tellMoveAt(ctx, addr, request) }()
	}
	known := false
	for range addrs {
		known = <-told || known
	}
	return known
}

func (n *node) tellMoveAt(ctx context.Context, addr string, request *rpc.MoveRequest) bool {
	client, err := rpc.Dial(ctx, n.identity, addr)
	if err != nil {
		return false
	}
	defer client.Close()
	err = client.Move(ctx, request)
	if err != nil {
		n.log.Debug("new address not taken", "manager", addr, "error", err)
	}
	return err == nil
}

// whereabouts is where managers have said that they are, until the store says it too.
type whereabouts struct {
	mu sync.Mutex
	at map[string]string // host:port by node ID
}

// heard notes where a manager is.
func (w *whereabouts) heard(id, addr string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.at == nil {
		w.at = map[string]string{}
	}
	w.at[id] = addr
}

// of finds a manager: by its own word first, which is newer than what the store has.
func (w *whereabouts) of(id string, r store.Reader) (string, bool) {
	stored := ""
	if n := store.Nodes.Get(r, id); n != nil && n.ManagerStatus != nil {
		stored = n.ManagerStatus.Addr
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if heard, ok := w.at[id]; ok && heard != stored {
		return heard, true
	}
	delete(w.at, id)
	return stored, stored != ""
}
