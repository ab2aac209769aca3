package sim

import (
	"context"
	"errors"
	"time"

	"github.com/moby/moby/api/types/swarm"

	"shoal/internal/ca"
	"shoal/internal/rpc"
	"shoal/internal/store"
)

// Times of a machine that takes its role, as the daemon's.
const (
	roleRetry = 2 * time.Second
	voteLook  = 5 * time.Second
	joinTime  = 30 * time.Second
)

// save keeps a certificate on the machine's disk.
func (p *process) save(b ca.Bundle) error {
	identity, err := ca.NewIdentity(b)
	if err != nil {
		return err
	}
	h := p.host
	h.w.mu.Lock()
	defer h.w.mu.Unlock()
	if p.dead {
		return context.Canceled
	}
	if h.w.lie == LieRenewed && identity.Subject().Role != h.role() {
		return nil
	}
	h.bundle, h.manages = b, identity.Subject().Role == swarm.NodeRoleManager
	h.w.renewed++
	h.w.note("%s has a certificate as a %s", h.id, identity.Subject().Role)
	return nil
}

// followRole runs a manager while the certificate says so, and gets it its vote.
func (p *process) followRole() {
	for {
		changed, again := p.identity.Changed(), voteLook
		if err := p.fitRole(); err != nil {
			again = roleRetry
		}
		timer := time.NewTimer(again)
		select {
		case <-changed:
		case <-timer.C:
		case <-p.ctx.Done():
			timer.Stop()
			return
		}
		timer.Stop()
	}
}

func (p *process) fitRole() error {
	h := p.host
	h.w.mu.Lock()
	manager := p.identity.Subject().Role == swarm.NodeRoleManager
	m := h.manager
	switch {
	case p.dead:
		h.w.mu.Unlock()
		return nil
	case manager && m == nil:
		h.boots++
		err := h.startManager(p.identity)
		m = h.manager
		h.w.mu.Unlock()
		if err != nil {
			return err
		}
		return p.join(m)
	case manager:
		votes := h.w.group.members[h.id]
		h.w.mu.Unlock()
		if votes || !p.agent.State().Connected {
			return nil
		}
		return p.join(m)
	}
	if m == nil {
		h.w.mu.Unlock()
		return nil
	}
	h.w.note("%s is a worker now", h.id)
	seat{m: m}.transfer() //nolint:errcheck // nobody may be there to take the lead
	h.manager = nil
	m.die()
	h.forget()
	h.w.net.change()
	h.w.mu.Unlock()
	m.cancel()
	m.running.Wait()
	return nil
}

// forget empties the manager's disk. It must not have a vote: one that forgets what it has voted for could do it twice.
func (h *host) forget() {
	h.snapshot, h.position = nil, 0
	if h.w.group.members[h.id] {
		h.w.fail("%s forgets its log while it has a vote", h.id)
	}
}

// join asks for a place among the managers, and for a vote when the manager has caught up.
func (p *process) join(m *manager) error {
	ctx, cancel := context.WithTimeout(p.ctx, joinTime)
	defer cancel()
	err := errors.New("no manager is known")
	for _, peer := range p.agent.State().Managers {
		if err = p.joinAt(ctx, m, peer.Addr); err == nil || ctx.Err() != nil {
			return err
		}
	}
	return err
}

func (p *process) joinAt(ctx context.Context, m *manager, addr string) error {
	to, err := p.dial(ctx, addr)
	if err != nil {
		return err
	}
	defer to.Close()
	c := to.(*connection)
	request := &rpc.JoinRequest{Addr: p.host.id + port}
	reply, err := c.Join(ctx, request)
	if err != nil {
		return err
	}
	for m.store.Index() < reply.Index {
		for _, err := range m.store.Watch(ctx, m.store.Index()) {
			if err != nil && !errors.Is(err, store.ErrBehind) {
				return err
			}
			break
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
	request.Voter = true
	_, err = c.Join(ctx, request)
	return err
}
