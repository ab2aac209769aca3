package controlplane

import (
	"context"
	"net/netip"
	"slices"
	"time"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/network"
	"github.com/moby/moby/api/types/swarm"

	"shoal/internal/cluster"
	"shoal/internal/store"
)

// overlayDriver is the one driver of networks that span nodes.
const overlayDriver = "overlay"

// CreateNetwork stores a network of the swarm with its subnets and VNI, and returns its ID. ErrAlreadyExists when the
// name is taken, ErrPermissionDenied for predefined names, ErrInvalidArgument for subnets that overlap another network's,
// ErrResourceExhausted when the pools have no subnet left.
func (c *Control) CreateNetwork(ctx context.Context, req network.CreateRequest) (string, error) {
	spec, aux, err := networkSpec(req)
	if err != nil {
		return "", err
	}
	n := &cluster.Network{Aux: aux}
	n.ID = cluster.NewID()
	n.Spec = *spec
	err = c.update(ctx, func(tx *store.Tx) error {
		for range store.Networks.By(tx, store.NetworkName, spec.Name) {
			return cluster.Errorf(errdefs.ErrAlreadyExists, "network with name %s already exists", spec.Name)
		}
		if spec.Ingress {
			if have := ingressNetwork(tx); have != nil {
				return cluster.Errorf(errdefs.ErrAlreadyExists, "ingress network (%s) is already present", have.ID)
			}
		}
		if err := stock(tx, nil).Network(n); err != nil {
			return err
		}
		if cluster.Encrypts(req.Options) {
			n.Keys = &cluster.KeyChange{Sends: 1, Moved: tx.Now(), Due: tx.Now().Add(n.KeyPeriod())}
		}
		store.Networks.Put(tx, n)
		return nil
	})
	return n.ID, err
}

// networkSpec checks a request and returns it as the swarm's spec, with the addresses that are never to be given out.
func networkSpec(req network.CreateRequest) (*swarm.NetworkSpec, map[string]netip.Addr, error) {
	if err := checkNetworkRequest(req); err != nil {
		return nil, nil, err
	}
	spec := &swarm.NetworkSpec{
		Annotations:         swarm.Annotations{Name: req.Name, Labels: req.Labels},
		DriverConfiguration: &swarm.Driver{Name: overlayDriver, Options: req.Options},
		IPv6Enabled:         req.EnableIPv6 != nil && *req.EnableIPv6,
		Internal:            req.Internal,
		Attachable:          req.Attachable,
		Ingress:             req.Ingress,
		Scope:               "swarm",
	}
	if spec.Labels == nil {
		spec.Labels = map[string]string{}
	}
	aux := make(map[string]netip.Addr)
	if req.IPAM != nil {
		spec.IPAMOptions = &swarm.IPAMOptions{Driver: swarm.Driver{Name: req.IPAM.Driver, Options: req.IPAM.Options}}
		for _, cfg := range req.IPAM.Config {
			if err := checkIPAM(cfg, aux); err != nil {
				return nil, nil, err
			}
			spec.IPAMOptions.Configs = append(spec.IPAMOptions.Configs,
				swarm.IPAMConfig{Subnet: cfg.Subnet, Range: cfg.IPRange, Gateway: cfg.Gateway})
		}
	}
	return spec, aux, nil
}

func checkNetworkRequest(req network.CreateRequest) error {
	if slices.Contains(predefined[:], req.Name) || req.Name == network.NetworkDefault {
		return cluster.Errorf(errdefs.ErrPermissionDenied, "operation is not permitted on predefined %s network", req.Name)
	}
	if err := checkName(req.Name); err != nil {
		return err
	}
	if _, taken := req.Labels[cluster.PredefinedLabel]; taken {
		return cluster.Errorf(errdefs.ErrPermissionDenied,
			"label %s is for internally created predefined networks and cannot be applied by users", cluster.PredefinedLabel)
	}
	switch {
	case req.Driver != "" && req.Driver != overlayDriver:
		return cluster.Errorf(errdefs.ErrNotImplemented, "network driver %q is not supported in the swarm scope: use overlay", req.Driver)
	case req.ConfigOnly || req.ConfigFrom != nil && req.ConfigFrom.Network != "":
		return cluster.Errorf(errdefs.ErrNotImplemented, "config-only networks are not supported in the swarm scope")
	case req.Ingress && req.Attachable:
		return invalid("ingress network cannot be attachable")
	case req.EnableIPv4 != nil && !*req.EnableIPv4:
		return invalid("IPv4 cannot be disabled in a swarm network")
	case req.IPAM != nil && req.IPAM.Driver != "" && req.IPAM.Driver != "default":
		return cluster.Errorf(errdefs.ErrNotImplemented, "IPAM driver %q is not supported: use default", req.IPAM.Driver)
	}
	return checkKeyPeriod(req.Options)
}

// checkIPAM checks one subnet's settings and adds its reserved addresses to aux.
func checkIPAM(cfg network.IPAMConfig, aux map[string]netip.Addr) error {
	switch {
	case !cfg.Subnet.IsValid():
		return invalid("ipam configuration: invalid subnet %s", cfg.Subnet)
	case cfg.Subnet != cfg.Subnet.Masked():
		return invalid("invalid network config: invalid subnet %s: it should be %s", cfg.Subnet, cfg.Subnet.Masked())
	case cfg.Subnet.Bits() > cfg.Subnet.Addr().BitLen()-2:
		return invalid("ipam configuration: subnet %s is too small", cfg.Subnet)
	case cfg.IPRange.IsValid() && (!cfg.Subnet.Contains(cfg.IPRange.Addr()) || cfg.IPRange.Bits() < cfg.Subnet.Bits()):
		return invalid("ipam configuration: subnet %s does not contain range %s", cfg.Subnet, cfg.IPRange)
	case cfg.Gateway.IsValid() && !cfg.Subnet.Contains(cfg.Gateway):
		return invalid("ipam configuration: subnet %s does not contain gateway %s", cfg.Subnet, cfg.Gateway)
	}
	for name, addr := range cfg.AuxAddress {
		if !cfg.Subnet.Contains(addr) {
			return invalid("ipam configuration: subnet %s does not contain auxiliary address %s", cfg.Subnet, addr)
		}
		aux[name] = addr
	}
	return nil
}

// RemoveNetwork deletes a network that no service uses, and no task but those of removed services, which are ending. ErrFailedPrecondition tells who does, and
// refuses the predefined ones.
func (c *Control) RemoveNetwork(ctx context.Context, ref string) error {
	return c.update(ctx, func(tx *store.Tx) error {
		n, err := findNetwork(tx, ref)
		if err != nil {
			return err
		}
		if n.Predefined() {
			return cluster.Errorf(errdefs.ErrFailedPrecondition, "network %s (%s) is a swarm predefined network and cannot be removed", ref, n.Spec.Name)
		}
		if err := networkInUse(tx, n); err != nil {
			return err
		}
		dropNetwork(tx, n)
		return nil
	})
}

// PruneNetworks removes the swarm's unused networks that the filter (label, label!) lets through and that are older
// than before (zero: any age), and returns their names.
func (c *Control) PruneNetworks(ctx context.Context, f Filters, before time.Time) ([]string, error) {
	removed := []string{}
	err := c.update(ctx, func(tx *store.Tx) error {
		for n := range store.Networks.All(tx) {
			switch {
			case n.Predefined(), n.Spec.Ingress, n.Leaving, !f.Labels("label", n.Spec.Labels), !f.NotLabels("label!", n.Spec.Labels),
				!before.IsZero() && n.CreatedAt.After(before), networkInUse(tx, n) != nil:
				continue
			}
			dropNetwork(tx, n)
			removed = append(removed, n.Spec.Name)
		}
		return nil
	})
	return removed, err
}
