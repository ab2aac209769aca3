package controlplane

import (
	"slices"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/swarm"

	"shoal/internal/cluster"
	"shoal/internal/store"
)

// resolve checks that all that a spec refers to exists and may be used, and writes full network IDs into it.
func resolve(r store.Reader, spec *swarm.ServiceSpec) error {
	if err := resolveNetworks(r, spec.TaskTemplate.Networks); err != nil {
		return err
	}
	c := spec.TaskTemplate.ContainerSpec
	if err := secretsExist(r, c.Secrets); err != nil {
		return err
	}
	return configsExist(r, c)
}

func resolveNetworks(r store.Reader, wanted []swarm.NetworkAttachmentConfig) error {
	seen := make(map[string]bool, len(wanted))
	for i := range wanted {
		n, err := findNetwork(r, wanted[i].Target)
		if err != nil {
			return err
		}
		if n.Spec.Ingress {
			return invalid("Service cannot be explicitly attached to the ingress network %q", n.Spec.Name)
		}
		if seen[n.ID] {
			return invalid("network %s is given more than once", n.Spec.Name)
		}
		seen[n.ID] = true
		if wanted[i].Target != n.ID { // a stored spec is shared, and has IDs already
			wanted[i].Target = n.ID
		}
	}
	return nil
}

// secretsExist wants each secret under both the ID and the name that the reference has. One that was rotated may go by
// the name that it had.
func secretsExist(r store.Reader, refs []*swarm.SecretReference) error {
	var missing []string
	for _, ref := range refs {
		if s := store.Secrets.Get(r, ref.SecretID); s == nil || s.Spec.Name != ref.SecretName && s.Superseded != ref.SecretName {
			missing = append(missing, ref.SecretName)
		}
	}
	return notFound("secret", missing)
}

func configsExist(r store.Reader, c *swarm.ContainerSpec) error {
	var missing []string
	for _, ref := range c.Configs {
		if have := store.Configs.Get(r, ref.ConfigID); have == nil || have.Spec.Name != ref.ConfigName && have.Superseded != ref.ConfigName {
			missing = append(missing, ref.ConfigName)
		}
	}
	if err := notFound("config", missing); err != nil {
		return err
	}
	if c.Privileges == nil || c.Privileges.CredentialSpec == nil || c.Privileges.CredentialSpec.Config == "" {
		return nil
	}
	id := c.Privileges.CredentialSpec.Config
	if !slices.ContainsFunc(c.Configs, func(ref *swarm.ConfigReference) bool { return ref.ConfigID == id && ref.Runtime != nil }) {
		return invalid("CredentialSpec: config %s is not referenced by the service as a runtime target", id)
	}
	return nil
}

func notFound(noun string, missing []string) error {
	switch len(missing) {
	case 0:
		return nil
	case 1:
		return invalid("%s not found: %s", noun, missing[0])
	}
	return invalid("%ss not found: %s", noun, strings.Join(missing, ", "))
}

// needsIngress says whether a spec publishes ports through the routing mesh.
func needsIngress(spec *swarm.ServiceSpec) bool {
	return spec.EndpointSpec != nil && slices.ContainsFunc(spec.EndpointSpec.Ports, func(p swarm.PortConfig) bool {
		return p.PublishMode == swarm.PortConfigPublishModeIngress
	})
}

// ingressNetwork is the network of the routing mesh; nil when it was removed.
func ingressNetwork(r store.Reader) *cluster.Network {
	for n := range store.Networks.All(r) {
		if n.Spec.Ingress {
			return n
		}
	}
	return nil
}

// checkIngress refuses mesh ports in a cluster whose ingress network was removed.
func checkIngress(r store.Reader, spec *swarm.ServiceSpec) error {
	if needsIngress(spec) && ingressNetwork(r) == nil {
		return cluster.Errorf(errdefs.ErrFailedPrecondition, "service needs ingress network, but no ingress network is present")
	}
	return nil
}
