package store

import (
	"github.com/moby/moby/api/types/swarm"

	"shoal/internal/cluster"
)

// The schema: all tables and indexes, on one page. Names and numbers of tables are written to the log: never reuse one.

// Indexes.
var (
	NodeName = &Index[cluster.Node]{keys: func(dst []string, n *cluster.Node) []string {
		return append(dst, n.Description.Hostname)
	}}

	ServiceName = &Index[cluster.Service]{keys: func(dst []string, s *cluster.Service) []string {
		return append(dst, s.Spec.Name)
	}}
	// ServiceSpec finds the services that name a spec, as their present or their previous one.
	ServiceSpec = &Index[cluster.Service]{keys: func(dst []string, s *cluster.Service) []string {
		return append(dst, s.SpecID, s.PreviousSpecID)
	}}
	// ServiceNetwork finds the services whose spec asks for a network or that hold an address in it.
	ServiceNetwork = &Index[cluster.Service]{keys: serviceNetworks}
	ServiceSecret  = &Index[cluster.Service]{keys: serviceSecrets}
	ServiceConfig  = &Index[cluster.Service]{keys: serviceConfigs}

	TaskService = &Index[cluster.Task]{keys: func(dst []string, t *cluster.Task) []string { return append(dst, t.ServiceID) }}
	TaskNode    = &Index[cluster.Task]{keys: func(dst []string, t *cluster.Task) []string { return append(dst, t.NodeID) }}
	TaskSpec    = &Index[cluster.Task]{keys: func(dst []string, t *cluster.Task) []string { return append(dst, t.SpecID) }}
	TaskNetwork = &Index[cluster.Task]{keys: func(dst []string, t *cluster.Task) []string {
		for _, a := range t.Attachments {
			dst = append(dst, a.NetworkID)
		}
		return dst
	}}

	NetworkName = &Index[cluster.Network]{keys: networkNames}
	SecretName  = &Index[cluster.Secret]{keys: func(dst []string, s *cluster.Secret) []string { return append(dst, s.Spec.Name) }}
	ConfigName  = &Index[cluster.Config]{keys: func(dst []string, c *cluster.Config) []string { return append(dst, c.Spec.Name) }}
)

// Tables. A table's pos is its place in the schema below.
var (
	Clusters = newTable(Table[cluster.Cluster]{
		pos: 0, name: "clusters", noun: "cluster",
		id:   func(c *cluster.Cluster) string { return c.ID },
		meta: func(c *cluster.Cluster) *swarm.Meta { return &c.Meta },
	})
	Nodes = newTable(Table[cluster.Node]{
		pos: 1, name: "nodes", noun: "node",
		id:     func(n *cluster.Node) string { return n.ID },
		meta:   func(n *cluster.Node) *swarm.Meta { return &n.Meta },
		byName: NodeName,
	})
	Services = newTable(Table[cluster.Service]{
		pos: 2, name: "services", noun: "service",
		id:     func(s *cluster.Service) string { return s.ID },
		meta:   func(s *cluster.Service) *swarm.Meta { return &s.Meta },
		byName: ServiceName,
	}, ServiceSpec, ServiceNetwork, ServiceSecret, ServiceConfig)
	// Specs are interned task templates; nothing names them but their ID.
	Specs = newTable(Table[cluster.Spec]{
		pos: 3, name: "specs", noun: "spec",
		id:   func(s *cluster.Spec) string { return s.ID },
		meta: func(s *cluster.Spec) *swarm.Meta { return &s.Meta },
	})
	Tasks = newTable(Table[cluster.Task]{
		pos: 4, name: "tasks", noun: "task",
		id:   func(t *cluster.Task) string { return t.ID },
		meta: func(t *cluster.Task) *swarm.Meta { return &t.Meta },
	}, TaskService, TaskNode, TaskSpec, TaskNetwork)
	Networks = newTable(Table[cluster.Network]{
		pos: 5, name: "networks", noun: "network",
		id:     func(n *cluster.Network) string { return n.ID },
		meta:   func(n *cluster.Network) *swarm.Meta { return &n.Meta },
		byName: NetworkName,
	})
	Secrets = newTable(Table[cluster.Secret]{
		pos: 6, name: "secrets", noun: "secret",
		id:     func(s *cluster.Secret) string { return s.ID },
		meta:   func(s *cluster.Secret) *swarm.Meta { return &s.Meta },
		byName: SecretName,
	})
	Configs = newTable(Table[cluster.Config]{
		pos: 7, name: "configs", noun: "config",
		id:     func(c *cluster.Config) string { return c.ID },
		meta:   func(c *cluster.Config) *swarm.Meta { return &c.Meta },
		byName: ConfigName,
	})
)

// schema is the tables in the order of their numbers.
var schema = [...]anyTable{Clusters, Nodes, Services, Specs, Tasks, Networks, Secrets, Configs}

// anyTable is a [Table] of any type.
type anyTable interface {
	Name() string
	empty() tableRows
}

func (t *Table[T]) empty() tableRows { return newRows(t) }

func newTable[T any](t Table[T], indexes ...*Index[T]) *Table[T] {
	if t.byName != nil {
		indexes = append(indexes, t.byName)
	}
	for i, index := range indexes {
		index.pos = i
	}
	t.indexes = indexes
	return &t
}

// ClusterOf returns the one object that describes the swarm; nil before it is initialised.
func ClusterOf(r Reader) *cluster.Cluster {
	for c := range Clusters.All(r) {
		return c
	}
	return nil
}

func serviceNetworks(dst []string, s *cluster.Service) []string {
	for _, n := range s.Spec.TaskTemplate.Networks {
		dst = append(dst, n.Target)
	}
	for _, vip := range s.Endpoint.VirtualIPs {
		dst = append(dst, vip.NetworkID)
	}
	return dst
}

func networkNames(dst []string, n *cluster.Network) []string {
	if n.Leaving { // another may have its name
		return dst
	}
	return append(dst, n.Spec.Name)
}

func serviceSecrets(dst []string, s *cluster.Service) []string {
	c := s.Spec.TaskTemplate.ContainerSpec
	if c == nil {
		return dst
	}
	for _, ref := range c.Secrets {
		if ref != nil {
			dst = append(dst, ref.SecretID)
		}
	}
	return dst
}

func serviceConfigs(dst []string, s *cluster.Service) []string {
	c := s.Spec.TaskTemplate.ContainerSpec
	if c == nil {
		return dst
	}
	for _, ref := range c.Configs {
		if ref != nil {
			dst = append(dst, ref.ConfigID)
		}
	}
	if c.Privileges != nil && c.Privileges.CredentialSpec != nil {
		dst = append(dst, c.Privileges.CredentialSpec.Config)
	}
	return dst
}
