package network

import (
	"context"
	"path/filepath"
	"slices"
	"time"

	"shoal/internal/cluster"
	"shoal/internal/network/plan"
	"shoal/internal/network/tunnel"
)

// own is this node's side of encrypted networks: the keys of the devices that exist now. Their private halves are in the
// devices and nowhere else.
type own struct {
	keys  map[ownID]cluster.OwnKey // by device, as they were read; owned by whoever has the gate's token
	told  []cluster.OwnKey         // guarded by Network.mu, as is moved
	moved chan struct{}            // closed when told changes
}

type ownID struct {
	ns   plan.NS
	link string
}

func (n *Network) openTunnels() (err error) {
	n.own = own{keys: map[ownID]cluster.OwnKey{}, moved: make(chan struct{})}
	n.tunnels, err = tunnel.New(tunnel.Config{
		Dir: filepath.Join(n.config.RunDir, "wg"), Spaces: n.kernel, Mode: n.config.WireGuard, Memory: n.config.TunnelMemory,
		Processors: n.config.TunnelProcessors, Log: n.config.Log, Lost: func(ns plan.NS, name string) { go n.remake(ns, name) },
	})
	if err == nil {
		n.kernel.Use(n.tunnels)
	}
	return err
}

// Keys are the public keys that this node has made for encrypted networks, by network and generation.
func (n *Network) Keys() []cluster.OwnKey {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.own.told
}

// KeysMoved returns a channel that is closed when Keys changes: ask for it first.
func (n *Network) KeysMoved() <-chan struct{} {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.own.moved
}

// noteKeys reads the keys of devices that were made, and tells when anything changed.
func (n *Network) noteKeys(in plan.Input, ops []plan.Op) error {
	for _, op := range ops {
		if l, ok := op.Item.(plan.LinkItem); ok && l.Kind == plan.WireGuard {
			delete(n.own.keys, ownID{op.NS, l.Name})
		}
	}
	keys := make(map[ownID]cluster.OwnKey, len(n.own.keys))
	var list []cluster.OwnKey
	for _, net := range in.Networks {
		if !net.Encrypted {
			continue
		}
		for _, ring := range net.Rings {
			id := ownID{net.NS(), plan.TunnelLink(ring.Generation)}
			key, known := n.own.keys[id]
			if !known {
				d, err := n.tunnels.Read(id.ns, id.link)
				if err != nil {
					return err
				}
				key = cluster.OwnKey{NetworkID: net.ID, Generation: ring.Generation, Public: d.Public, Port: d.Port}
			}
			keys[id] = key
			list = append(list, key)
		}
	}
	n.own.keys = keys
	slices.SortFunc(list, cluster.OwnKey.Compare)
	n.mu.Lock()
	defer n.mu.Unlock()
	if !slices.Equal(list, n.own.told) {
		n.own.told = list
		close(n.own.moved)
		n.own.moved = make(chan struct{})
	}
	return nil
}

// remakeTime is how long a device that could not be made again waits for the next try.
const remakeTime = time.Second

// remake puts a device back whose process has ended. It has another key then, which the others learn as that of a new
// node.
func (n *Network) remake(ns plan.NS, name string) {
	for {
		if n.enter(context.Background()) != nil {
			return
		}
		if _, here := n.have[ns]; !here {
			n.leave()
			return
		}
		n.have[ns] = nil // to be read
		delete(n.own.keys, ownID{ns, name})
		// A process that dies takes its link along, but a moment after its word: what is read meanwhile has routes of a link
		// that goes.
		err := n.tunnels.Remove(ns, name)
		if err == nil {
			err = n.apply(context.Background(), nil, nil, nil)
		}
		n.leave()
		if err == nil {
			return
		}
		n.config.Log.Error("a tunnel device cannot be made anew; trying again", "namespace", ns, "device", name, "err", err)
		select {
		case <-time.After(remakeTime):
		case <-n.closed:
			return
		}
	}
}
