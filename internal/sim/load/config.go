package load

import (
	"errors"
	"fmt"
	"time"
)

// Config says what is simulated.
type Config struct {
	Managers, Agents, Tasks, Services int
	// AgentProcesses share the agents.
	AgentProcesses int
	// KillLeader kills the leading manager (kill -9) when all tasks run.
	KillLeader bool
	// Update updates the first service when all its tasks run, by this policy.
	Update      bool
	Parallelism uint64 // 0: all at once
	Delay       time.Duration
	// Dir is where the folder of the simulation is made, which is removed at the end; empty: the system's for such things.
	Dir string
	// Profile is a folder that gets processor and heap profiles of every process, taken while tasks start; empty: none.
	Profile string
	// Child is the command line that runs a child; its role follows as one more word.
	Child []string
	// Progress is told what goes on, a sentence at a time.
	Progress func(string)
}

func (c *Config) check() error {
	switch {
	case c.Managers < 1 || c.Agents < 1 || c.Tasks < 1 || c.Services < 1 || c.AgentProcesses < 1:
		return errors.New("there must be at least one manager, agent, task, service and process of agents")
	case c.Services > c.Tasks:
		return fmt.Errorf("%d services cannot share %d tasks", c.Services, c.Tasks)
	case c.KillLeader && c.Managers < 3:
		return errors.New("a swarm that shall live on without its leader needs three managers")
	case c.Agents+c.Managers > maxNodes:
		return fmt.Errorf("a swarm has at most %d nodes", maxNodes)
	}
	return nil
}

// maxNodes is how many nodes have a number; see cluster.Node.
const maxNodes = 4095

// Report is what was measured. Names ending in _ms are milliseconds, in _mb megabytes (of 2^20 bytes).
type Report struct {
	Managers       int     `json:"managers"`
	Agents         int     `json:"agents"`
	Tasks          int     `json:"tasks"`
	Services       int     `json:"services"`
	JoinSeconds    float64 `json:"join_seconds"`     // from the agents' start until all of them are READY
	RunningSeconds float64 `json:"running_seconds"`  // from the first create until the last task was seen RUNNING
	TasksPerSecond float64 `json:"tasks_per_second"` // over that time
	// What `service ls` and `node ls` ask for took so long meanwhile.
	ServiceLsP50 float64 `json:"service_ls_p50_ms"`
	ServiceLsP99 float64 `json:"service_ls_p99_ms"`
	NodeLsP50    float64 `json:"node_ls_p50_ms"`
	NodeLsP99    float64 `json:"node_ls_p99_ms"`
	Listings     int     `json:"listings"`        // how many of both were answered
	Refused      int     `json:"listings_failed"` // and how many were not, for want of a leader mostly
	// ManagerRSS is the leader's resident set when all tasks run, ManagerPeakRSS its largest until then.
	ManagerRSS     float64 `json:"manager_rss_mb"`
	ManagerPeakRSS float64 `json:"manager_peak_rss_mb"`
	// Processor time that was taken while the tasks started, by the leader, the other managers and the agents.
	LeaderCPU   float64 `json:"leader_cpu_seconds"`
	FollowerCPU float64 `json:"follower_cpu_seconds"`
	AgentCPU    float64 `json:"agent_cpu_seconds"`
	// Failover is from the leader's death until the next write succeeded, ReadyAgain until all agents were READY again.
	Failover   float64 `json:"failover_ms,omitempty"`
	ReadyAgain float64 `json:"ready_again_ms,omitempty"`
	// Update is how long the update took, UpdatePolicy how long its delays and its monitor time alone are.
	Update       float64 `json:"update_seconds,omitempty"`
	UpdatePolicy float64 `json:"update_policy_seconds,omitempty"`
}
