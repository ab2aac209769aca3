package agent

import (
	"bytes"
	"context"
	"time"

	"github.com/containerd/errdefs"

	"shoal/internal/ca"
	"shoal/internal/cluster"
	"shoal/internal/rpc"
)

// Bounds of the renewal of the node's certificate.
const (
	renewTimeout = 10 * time.Second
	renewFirst   = 500 * time.Millisecond // before another try; doubles up to
	renewLast    = time.Minute
	moveJitter   = 3 * time.Second // nodes that move to another root spread over it
)

// renewals renews the certificate when its time has come, when the node's role is another, and when the swarm moves to
// another root, until ctx ends.
func (a *Agent) renewals(ctx context.Context) {
	delay := time.Duration(0)
	chosen := a.fraction()
	for {
		changed := a.config.Identity.Changed()
		wait := time.Until(ca.RenewAt(a.config.Identity.Leaf(), chosen))
		switch {
		case a.otherRole():
			wait = 0
		case a.otherRoot():
			wait = time.Duration(a.config.Rand(int64(moveJitter)))
		}
		timer := time.NewTimer(max(wait, delay))
		select {
		case <-timer.C:
			if err := a.renewNow(ctx); err != nil {
				a.log.Warn("the node's certificate cannot be renewed; trying again", "err", err)
				delay = min(max(2*delay, renewFirst), renewLast)
				continue
			}
			delay, chosen = 0, a.fraction()
		case <-a.renew:
		case <-changed:
		case <-ctx.Done():
			timer.Stop()
			return
		}
		timer.Stop()
	}
}

// fraction is a number of chance in [0, 1).
func (a *Agent) fraction() float64 {
	const parts = 1 << 53 // what a float64 tells apart
	return float64(a.config.Rand(parts)) / parts
}

// otherRole says whether the store gives the node another role than its certificate.
func (a *Agent) otherRole() bool {
	n := a.State().Node
	return n != nil && a.issuer() != nil && n.Spec.Role != a.config.Identity.Subject().Role
}

func (a *Agent) otherRoot() bool {
	return a.issuer() != nil && ca.MustMove(a.config.Identity.Leaf(), a.config.Identity.Bundle().Root)
}

func (a *Agent) renewNow(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, renewTimeout)
	defer cancel()
	client := a.issuer()
	if client == nil {
		found, err := a.findLeader(ctx, dialTime)
		if err != nil {
			return err
		}
		defer found.Close()
		var ours bool
		if client, ours = found.Manager.(rpc.Issuer); !ours {
			return cluster.Errorf(errdefs.ErrNotImplemented, "this connection to the leader renews no certificates")
		}
	}
	known := a.config.Identity.Bundle().Root
	bundle, err := rpc.Renew(ctx, client, a.config.Identity)
	if err != nil {
		return err
	}
	a.trusting.Lock()
	defer a.trusting.Unlock()
	// Roots that the session has brought meanwhile may be newer than those that came with the certificate, and it brings them
	// once.
	if now := a.config.Identity.Bundle().Root; !bytes.Equal(now, known) {
		bundle.Root = now
	}
	if err := a.keep(bundle); err != nil {
		return err
	}
	return a.config.Identity.Set(bundle)
}

// trust puts other roots in use.
func (a *Agent) trust(root []byte) {
	a.trusting.Lock()
	defer a.trusting.Unlock()
	changed, err := a.config.Identity.SetRoot(root)
	if err == nil && changed {
		err = a.keep(a.config.Identity.Bundle())
		token(a.renew)
	}
	if err != nil {
		a.log.Error("the swarm's roots cannot be taken over", "err", err)
	}
}

func (a *Agent) keep(b ca.Bundle) error {
	if a.config.Save == nil {
		return nil
	}
	return a.config.Save(b)
}
