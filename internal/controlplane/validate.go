package controlplane

import (
	"math"
	"regexp"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/network"
	"github.com/moby/moby/api/types/swarm"

	"shoal/internal/cluster"
)

// Names as Docker allows them.
var (
	dnsName  = regexp.MustCompile(`^[a-zA-Z0-9](?:[-_]*[A-Za-z0-9]+)*$`)
	blobName = regexp.MustCompile(`^[a-zA-Z0-9]+(?:[a-zA-Z0-9-_.]*[a-zA-Z0-9])?$`)
)

// Lengths of names in characters.
const (
	maxDNSName  = 63
	maxBlobName = 64
)

func invalid(format string, args ...any) error {
	return cluster.Errorf(errdefs.ErrInvalidArgument, format, args...)
}

// checkName checks the name of a service or network. The length is told first where the pattern alone would do, since a
// long name costs the pattern's time.
func checkName(name string) error {
	switch {
	case name == "":
		return invalid("meta: name must be provided")
	case len(name) > maxDNSName:
		return invalid("name must be 63 characters or fewer")
	case !dnsName.MatchString(name):
		return invalid("name must be valid as a DNS name component")
	}
	return nil
}

// checkBlobName checks the name of a secret or config.
func checkBlobName(name string) error {
	switch {
	case name == "":
		return invalid("name must be provided")
	case len(name) > maxBlobName || !blobName.MatchString(name):
		return invalid("invalid name, only 64 [a-zA-Z0-9-_.] characters allowed, and the start and end character must be [a-zA-Z0-9]")
	}
	return nil
}

// checkService checks a service's spec by itself, after [normalizeService].
func checkService(spec *swarm.ServiceSpec) error {
	if err := checkName(spec.Name); err != nil {
		return err
	}
	if err := checkTask(&spec.TaskTemplate); err != nil {
		return err
	}
	if err := checkMode(&spec.Mode); err != nil {
		return err
	}
	if isJob(&spec.Mode) && (spec.UpdateConfig != nil || spec.RollbackConfig != nil) {
		return invalid("Jobs may not have an update config")
	}
	if err := checkUpdateConfig(spec.UpdateConfig, "update"); err != nil {
		return err
	}
	if err := checkUpdateConfig(spec.RollbackConfig, "rollback"); err != nil {
		return err
	}
	if _, err := cluster.PublishedOn(spec.Labels); err != nil {
		return err
	}
	return checkEndpoint(spec.EndpointSpec)
}

func isJob(m *swarm.ServiceMode) bool { return m.ReplicatedJob != nil || m.GlobalJob != nil }

// modeName is the mode as filters and messages have it.
func modeName(m *swarm.ServiceMode) string {
	switch {
	case m.Global != nil:
		return "global"
	case m.ReplicatedJob != nil:
		return "replicated-job"
	case m.GlobalJob != nil:
		return "global-job"
	}
	return "replicated"
}

func checkMode(m *swarm.ServiceMode) error {
	set := 0
	for _, on := range []bool{m.Replicated != nil, m.Global != nil, m.ReplicatedJob != nil, m.GlobalJob != nil} {
		if on {
			set++
		}
	}
	if set != 1 {
		return invalid("must specify only one service mode")
	}
	negative := func(n *uint64) bool { return n != nil && *n > math.MaxInt64 }
	switch {
	case m.Replicated != nil && negative(m.Replicated.Replicas):
		return invalid("Number of replicas must be non-negative")
	case m.ReplicatedJob != nil && negative(m.ReplicatedJob.MaxConcurrent):
		return invalid("Maximum concurrent jobs must not be negative")
	case m.ReplicatedJob != nil && negative(m.ReplicatedJob.TotalCompletions):
		return invalid("Total completed jobs must not be negative")
	}
	return nil
}

func checkUpdateConfig(u *swarm.UpdateConfig, what string) error {
	switch {
	case u == nil:
		return nil
	case u.Delay < 0:
		return invalid("TaskSpec: update-delay cannot be negative")
	case u.Monitor < 0:
		return invalid("TaskSpec: update-monitor cannot be negative")
	case !(u.MaxFailureRatio >= 0 && u.MaxFailureRatio <= 1):
		return invalid("TaskSpec: update-maxfailureratio cannot be less than 0 or bigger than 1")
	}
	switch u.FailureAction {
	case "", swarm.UpdateFailureActionPause, swarm.UpdateFailureActionContinue:
	case swarm.UpdateFailureActionRollback:
		if what == "rollback" {
			return invalid("unrecognized update failure action %s", u.FailureAction)
		}
	default:
		return invalid("unrecognized update failure action %s", u.FailureAction)
	}
	switch u.Order {
	case "", swarm.UpdateOrderStopFirst, swarm.UpdateOrderStartFirst:
		return nil
	}
	return invalid("unrecognized update order %s", u.Order)
}

// maxPorts bounds the published ports of one service: all of them, once in each protocol.
const maxPorts = 3 * 65535

func checkEndpoint(e *swarm.EndpointSpec) error {
	if e == nil {
		return nil
	}
	switch e.Mode {
	case "", swarm.ResolutionModeVIP, swarm.ResolutionModeDNSRR:
	default:
		return invalid("invalid ResolutionMode: %q", e.Mode)
	}
	if len(e.Ports) > maxPorts {
		return invalid("EndpointSpec: more than %d ports", maxPorts)
	}
	type published struct {
		port     uint32
		protocol network.IPProtocol
	}
	seen := make(map[published]bool, len(e.Ports))
	for _, p := range e.Ports {
		if err := checkPort(p); err != nil {
			return err
		}
		// The mesh leads one address to many tasks; dnsrr has no such address. A host-mode port needs none.
		if e.Mode == swarm.ResolutionModeDNSRR && p.PublishMode == swarm.PortConfigPublishModeIngress {
			return invalid("EndpointSpec: port published with ingress mode can't be used with dnsrr mode")
		}
		if p.PublishedPort == 0 {
			continue
		}
		key := published{p.PublishedPort, p.Protocol}
		if seen[key] {
			return invalid("EndpointSpec: duplicate published ports provided")
		}
		seen[key] = true
	}
	return nil
}

func checkPort(p swarm.PortConfig) error {
	switch p.Protocol {
	case network.TCP, network.UDP, network.SCTP:
	default:
		return invalid("invalid protocol %q: must be tcp, udp or sctp", p.Protocol)
	}
	switch p.PublishMode {
	case swarm.PortConfigPublishModeIngress, swarm.PortConfigPublishModeHost:
	default:
		return invalid("invalid publish mode %q: must be ingress or host", p.PublishMode)
	}
	switch {
	case p.TargetPort == 0 || p.TargetPort > math.MaxUint16:
		return invalid("invalid target port %d: must be between 1 and 65535", p.TargetPort)
	case p.PublishedPort > math.MaxUint16:
		return invalid("invalid published port %d: must be at most 65535", p.PublishedPort)
	}
	return nil
}
