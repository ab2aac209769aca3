package network

import (
	"context"
	"errors"
	"fmt"

	"shoal/internal/network/kernel"
	"shoal/internal/network/plan"
)

// Audit is a comparison of the kernel with what it should hold of ours.
type Audit struct {
	Namespaces int // that were read, the host's one of them
	// Differences are the steps that lead from what the kernel holds to what it should, as ip(8) and nft(8) lines.
	Differences []string
	// Repaired says that they were done, and Left is what differs still.
	Repaired bool
	Left     []string `json:",omitempty"`
}

// Audit reads everything that is ours in the kernel afresh: the host's part, the networks' namespaces and the containers'.
// Of a container's namespace only what is missing counts, since what else is in it may be the container's own. repair
// sets right what differs. It holds up other work on the network meanwhile.
func (n *Network) Audit(ctx context.Context, repair bool) (Audit, error) {
	if err := n.enter(ctx); err != nil {
		return Audit{}, err
	}
	defer n.leave()
	ops, silent, count, err := n.differences()
	if err != nil {
		return Audit{}, err
	}
	a := Audit{Namespaces: count, Differences: append(lines(ops), silent...)}
	if !repair || len(a.Differences) == 0 {
		return a, nil
	}
	pins, err := n.kernel.Pins()
	if err != nil {
		return a, err
	}
	err = n.kernel.Apply(ctx, ops)
	err = errors.Join(err, n.sync(ctx, nil, n.orphans(pins)))
	if err != nil {
		return a, fmt.Errorf("repair: %w", err)
	}
	if ops, silent, _, err = n.differences(); err != nil {
		return a, err
	}
	a.Repaired, a.Left = true, append(lines(ops), silent...)
	return a, nil
}

// differences are what to do, the networks in which nobody answers names, and the number of namespaces looked at.
func (n *Network) differences() (ops []plan.Op, silent []string, count int, _ error) {
	in := n.input()
	want := plan.Kernel{plan.HostNS: plan.Host(in)}
	for _, net := range in.Networks {
		want[net.NS()] = plan.Overlay(in, n.listed(net))
		if !n.dns.Listening(string(net.NS())) {
			silent = append(silent, "name server of network "+net.Name+" does not listen")
		}
	}
	for _, b := range n.inOrder() {
		if b.hasSpace() {
			want[plan.ContainerNS(b.ContainerID)] = n.containerPlan(b)
		}
	}
	pins, err := n.kernel.Pins()
	if err != nil {
		return nil, nil, 0, err
	}
	have := plan.Kernel{}
	for _, ns := range append(pins, plan.HostNS) {
		var sysctls map[string]string
		if want[ns] != nil {
			sysctls = want[ns].Sysctls
		}
		if have[ns], err = n.kernel.Read(ns, n.config.Prefix, sysctls); err != nil {
			return nil, nil, 0, err
		}
		if kernel.IsContainer(ns) {
			n.kernel.Forget(ns)
		}
	}
	for _, op := range plan.Diff(have, want) {
		if !op.Delete || !kernel.IsContainer(op.NS) || want[op.NS] == nil {
			ops = append(ops, op)
		}
	}
	return ops, silent, len(have), nil
}

func lines(ops []plan.Op) []string {
	out := make([]string, len(ops))
	for i, op := range ops {
		out[i] = op.String()
	}
	return out
}
