package manager

import (
	"time"

	"shoal/internal/reconcile"
	"shoal/internal/schedule"
	"shoal/internal/store"
)

// rebalance replaces tasks that would spread better elsewhere, one service after the other, so that each counts with
// where the tasks of those before it go.
func (p *pass) rebalance(services []string) {
	var stock *schedule.Nodes
	for _, id := range services {
		if !reconcile.Rebalances(store.Services.Get(p.tx, id)) {
			continue
		}
		tasks, most, wake := reconcile.Movable(p.input(id))
		p.wakeAt(id, wake)
		if len(tasks) == 0 || p.spec(tasks[0].SpecID) == nil {
			continue
		}
		if stock == nil {
			stock = p.stock()
		}
		moves := schedule.Rebalance(p.group(id, tasks[0].SpecID, tasks), most, stock)
		if len(moves) == 0 {
			continue
		}
		for _, t := range moves {
			moved := *t
			moved.Moving = true
			store.Tasks.Put(p.tx, &moved)
			p.log.Info("a task moves so that its service spreads better", "task", t.Name(), "from", t.NodeID)
		}
		p.reconcile(id)
		p.provide()
		stock = nil
	}
}

// wakeRested looks again at services that a node may be news to when it has rested from its falls.
func (p *pass) wakeRested() {
	var rested time.Time
	for _, n := range p.nodes {
		if at := schedule.Rested(n, p.tx.Now()); !at.IsZero() && (rested.IsZero() || at.Before(rested)) {
			rested = at
		}
	}
	if rested.IsZero() {
		return
	}
	for id := range p.wake {
		if p.starved[id] || reconcile.Rebalances(store.Services.Get(p.tx, id)) {
			p.wakeAt(id, rested)
		}
	}
}

// wakeAt asks for another look at a service, unless an earlier one is asked for; zero asks for none.
func (p *pass) wakeAt(id string, at time.Time) {
	if have := p.wake[id]; !at.IsZero() && (have.IsZero() || at.Before(have)) {
		p.wake[id] = at
	}
}
