package sim

import (
	"context"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"shoal/internal/agent"
	"shoal/internal/ca"
)

// host is a machine: its power, its disk and containers, and the daemon on it, which is an agent and on some hosts a
// manager too.
type host struct {
	w       *world
	id      string
	number  uint16
	manages bool // by the certificate on its disk
	on      bool
	skew    atomic.Int64 // nanoseconds that the machine's clock is ahead
	boots   uint64
	engine  *engine
	dir     string // of the agent's memory; empty: it keeps none
	bundle  ca.Bundle
	left    bool // removed from the swarm

	process *process // nil: no daemon
	manager *manager // nil: no manager runs

	// The manager's disk: a snapshot, the log's length with it, and the entry it proposed last, if nobody knows of it.
	snapshot []byte
	position int
	pending  *pending
}

// process is one run of a daemon's agent.
type process struct {
	host     *host
	born     uint64
	dead     bool
	ctx      context.Context
	cancel   context.CancelFunc
	agent    *agent.Agent
	identity *ca.Identity
	known    []string // managers' addresses, when it began
	running  sync.WaitGroup
	streams  []*stream
	dials    uint64
	chances  uint64
}

// ahead is how far the machine's clock is ahead of the world's.
func (h *host) ahead() time.Duration { return time.Duration(h.skew.Load()) }

func (h *host) addr() netip.Addr { return netip.AddrFrom4([4]byte{192, 0, 2, byte(h.number)}) }

// start runs the daemon. w.mu is held.
func (h *host) start() error {
	if !h.on || h.process != nil || h.left {
		return nil
	}
	h.boots++
	identity, err := ca.NewIdentity(h.bundle)
	if err != nil {
		return err
	}
	if h.manages {
		if err := h.startManager(identity); err != nil {
			return err
		}
	}
	p := &process{host: h, born: h.boots, identity: identity}
	p.ctx, p.cancel = context.WithCancel(h.w.ctx)
	for _, other := range h.w.hosts {
		if other.manages && !other.left {
			p.known = append(p.known, other.id+port)
		}
	}
	p.agent = agent.New(agent.Config{
		Dir: h.dir, Identity: identity, Save: p.save, Executor: &hands{p}, Network: &plane{p}, Managers: p.known,
		Dial: p.dial, Rand: p.chance, Parallel: 2,
	})
	h.process = p
	p.running.Go(func() { p.agent.Run(p.ctx) }) //nolint:errcheck // it ends with its context
	p.running.Go(p.followRole)
	return nil
}

// chance is a number for the agent's jitter.
func (p *process) chance(n int64) int64 {
	w := p.host.w
	w.mu.Lock()
	defer w.mu.Unlock()
	p.chances++
	return int64(w.dice.roll(uint64(n), "chance "+p.host.id, p.chances|p.born<<32))
}

// kill ends the daemon as kill -9 does, and with power the whole machine, its containers included. It waits until
// nothing of the daemon is left.
func (h *host) kill(power bool) {
	w := h.w
	w.mu.Lock()
	p, m := h.process, h.manager
	h.process, h.manager = nil, nil
	if power {
		h.on = false
		h.engine.powerCut()
	}
	if p != nil {
		p.dead = true
		for _, s := range p.streams {
			s.client.gone = true
		}
	}
	if m != nil {
		m.die()
	}
	w.net.change()
	w.mu.Unlock()
	if p != nil {
		p.cancel()
		p.running.Wait()
	}
	if m != nil {
		m.cancel()
		m.running.Wait()
	}
}

// boot makes the swarm: its machines and its first manager's store.
func (w *world) boot() {
	w.mu.Lock()
	managers := []int{1, 3, 3, 3, 5}[w.rand.IntN(5)]
	workers := 1 + w.rand.IntN(5)
	w.longLived, w.rebalances = w.rand.IntN(16) == 0, w.rand.IntN(4) == 0
	for i := range managers + workers {
		w.addHost(i < managers)
	}
	w.mu.Unlock()
	w.start()
}

// start writes the swarm's first objects and starts all daemons.
func (w *world) start() {
	w.mu.Lock()
	w.bootstrap()
	for _, h := range w.hosts {
		if err := h.start(); err != nil {
			w.fail("start %s: %v", h.id, err)
		}
	}
	w.mu.Unlock()
	go w.group.run(w.ctx)
	w.wait(3 * time.Second)
}

// addHost puts up another machine. w.mu is held.
func (w *world) addHost(manages bool) *host {
	w.joined++
	kind := "w"
	if manages {
		kind = "m"
	}
	h := &host{w: w, id: kind + string(rune('0'+w.joined/10)) + string(rune('0'+w.joined%10)), number: uint16(w.joined), manages: manages, on: true}
	h.engine = newEngine(h)
	h.bundle = w.authority.certificate(w, h.id, h.role())
	if w.rand.IntN(8) == 0 {
		h.skew.Store(w.rand.Int64N(int64(2*maxSkew)) - int64(maxSkew))
	}
	if w.rand.IntN(16) == 0 { // files cost time
		dir, err := os.MkdirTemp("", "shoal-sim-")
		if err != nil {
			w.fail("%v", err)
		}
		h.dir = filepath.Join(dir, "agent")
		context.AfterFunc(w.ctx, func() { os.RemoveAll(dir) })
	}
	w.hosts = append(w.hosts, h)
	if manages {
		w.group.members[h.id] = true
	}
	return h
}

// maxSkew bounds how wrong a machine's clock is.
const maxSkew = time.Minute
