package simulate

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"shoal/internal/sim/load"
)

// Word is the command's name.
const Word = "simulate"

// tasksPerService is how large services are when their number is not given.
const tasksPerService = 1000

// Command is `shoal simulate` with the roles of its children, which are hidden.
func Command() *cobra.Command {
	cfg := load.Config{Managers: 3, Agents: 1000, Tasks: 100_000, AgentProcesses: 1}
	asJSON := false
	c := &cobra.Command{
		Use: Word, Short: "Load a real control plane with agents that run no containers, and measure it", Args: cobra.NoArgs,
		Long: `Start managers as processes of their own on loopback addresses, join agents that run no containers, create services
until so many tasks run, and say how long everything took, as a client outside sees it. Raft logs are on disk and
fsynced, all connections use mutual TLS, every status is sent. Nothing is left behind.

The figures are those of this machine with everything on it: agents and managers share its processors.`,
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			if cfg.Services == 0 {
				cfg.Services = max(1, cfg.Tasks/tasksPerService)
			}
			if cfg.Child, err = child(); err != nil {
				return err
			}
			if cfg.Profile != "" {
				if cfg.Profile, err = filepath.Abs(cfg.Profile); err == nil {
					err = os.MkdirAll(cfg.Profile, 0o755)
				}
				if err != nil {
					return err
				}
			}
			cfg.Progress = func(s string) { fmt.Fprintln(cmd.ErrOrStderr(), s) }
			report, err := load.Run(cmd.Context(), cfg)
			if err != nil {
				return err
			}
			if asJSON {
				return json.NewEncoder(cmd.OutOrStdout()).Encode(report)
			}
			return table(cmd.OutOrStdout(), report)
		},
	}
	f := c.Flags()
	f.IntVar(&cfg.Managers, "managers", cfg.Managers, "Managers, each a process of its own")
	f.IntVar(&cfg.Agents, "agents", cfg.Agents, "Agents: worker nodes without containers")
	f.IntVar(&cfg.Tasks, "tasks", cfg.Tasks, "Tasks in all")
	f.IntVar(&cfg.Services, "services", 0, "Services that share the tasks; 0: one for every thousand tasks")
	f.IntVar(&cfg.AgentProcesses, "agent-processes", cfg.AgentProcesses, "Processes that share the agents")
	f.BoolVar(&cfg.KillLeader, "kill-leader", false, "Kill the leader (kill -9) when all tasks run, and measure until the next write succeeds")
	f.BoolVar(&cfg.Update, "update", false, "Update the first service when all tasks run, and measure it")
	f.Uint64Var(&cfg.Parallelism, "update-parallelism", 0, "Tasks that the update replaces at a time; 0: all at once")
	f.DurationVar(&cfg.Delay, "update-delay", 0, "Delay between two tasks of the update")
	f.StringVar(&cfg.Dir, "dir", "", "Where the managers keep their data meanwhile; empty: the folder for temporary files")
	f.StringVar(&cfg.Profile, "profile", "", "Folder for processor and heap profiles of every process")
	f.BoolVar(&asJSON, "json", false, "Print the figures as JSON")
	c.AddCommand(managerCommand(), agentsCommand())
	return c
}

// child is the command line of this program in the role of a child.
func child() ([]string, error) {
	self, err := os.Executable()
	return []string{self, Word}, err
}

func table(to io.Writer, r load.Report) error {
	w := tabwriter.NewWriter(to, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "tasks running\t%d of %d services, on %d agents, %d managers\n", r.Tasks, r.Services, r.Agents, r.Managers)
	fmt.Fprintf(w, "from create to running\t%.1f s, %.0f tasks/s\n", r.RunningSeconds, r.TasksPerSecond)
	fmt.Fprintf(w, "service ls meanwhile\t%.1f ms median, %.1f ms p99\n", r.ServiceLsP50, r.ServiceLsP99)
	fmt.Fprintf(w, "node ls meanwhile\t%.1f ms median, %.1f ms p99\n", r.NodeLsP50, r.NodeLsP99)
	fmt.Fprintf(w, "leader's memory\t%.0f MB, %.0f MB at most\n", r.ManagerRSS, r.ManagerPeakRSS)
	fmt.Fprintf(w, "processor time\tleader %.1f s, other managers %.1f s, agents %.1f s\n", r.LeaderCPU, r.FollowerCPU, r.AgentCPU)
	fmt.Fprintf(w, "agents joined\tin %.1f s\n", r.JoinSeconds)
	if r.Update > 0 {
		fmt.Fprintf(w, "update\t%.1f s; its policy alone is %.1f s\n", r.Update, r.UpdatePolicy)
	}
	if r.Failover > 0 {
		fmt.Fprintf(w, "leader killed\tnext write after %.0f ms, all agents ready after %.0f ms\n", r.Failover, r.ReadyAgain)
	}
	return w.Flush()
}
