package cli

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"text/tabwriter"

	"github.com/docker/cli/opts"
	"github.com/spf13/cobra"

	"shoal/internal/cli/playground"
)

// playgroundDir is where a playground is when nothing else is said.
const playgroundDir = "/var/lib/shoal-playground"

// pg is what the playground's words share.
type pg struct{ dir string }

func playgroundCommand() *cobra.Command {
	w := &pg{}
	c := &cobra.Command{
		Use: "playground", Short: "A cluster of many machines on this one",
		Long: `Make a real cluster on this machine: every node has namespaces, a disk, a daemon and an address of its own, and can
be cut off or lose its power. Machines are named by number (1) or name (node1); "client" is a machine outside the cluster.`,
	}
	c.PersistentFlags().StringVar(&w.dir, "dir", playgroundDir, "Folder of the playground")
	c.AddCommand(w.up(), w.exec(), w.forward(), w.status(), w.down(), w.partition(), w.slow(),
		w.each("kill", "Cut a machine's power: everything on it dies at once, its disk stays", func(_ context.Context, m *playground.Machine) error { return m.Off() }),
		w.each("start", "Give a machine its power back, and start its daemon", start),
		w.each("heal", "End a machine's partition, slowness and full disk", heal),
		w.each("pause", "Stop every process of a machine where it stands: it answers nothing, and loses nothing", func(_ context.Context, m *playground.Machine) error { return m.Pause() }),
		w.each("unpause", "Let a paused machine go on", func(_ context.Context, m *playground.Machine) error { return m.Resume() }),
		w.each("fill", "Fill a machine's disk to the last byte (up --disk)", func(_ context.Context, m *playground.Machine) error { return m.Fill() }),
		w.each("crash", "Kill a machine's daemon (kill -9): its containers run on", func(ctx context.Context, m *playground.Machine) error { return m.EndDaemon(ctx, syscall.SIGKILL) }),
	)
	return c
}

// start boots a machine that is off, and starts the daemon of one that has none running.
func start(ctx context.Context, m *playground.Machine) error {
	if !m.On() {
		if err := m.Boot(); err != nil {
			return err
		}
	}
	if m.Answers(ctx) {
		return nil
	}
	return m.StartDaemon(ctx)
}

// heal undoes everything that was done to a machine's network and disk.
func heal(_ context.Context, m *playground.Machine) error {
	err := m.Heal()
	if m.OwnDisk() {
		err = errors.Join(err, m.Slow(0), m.Empty())
	}
	return err
}

func (w *pg) partition() *cobra.Command {
	direction := "both"
	cut := map[string]func(*playground.Machine) error{
		"both": (*playground.Machine).Cut, "in": (*playground.Machine).Deafen, "out": (*playground.Machine).Mute,
	}
	c := w.each("partition", "Cut a machine off: it runs on, and nobody reaches it", func(_ context.Context, m *playground.Machine) error {
		do, ok := cut[direction]
		if !ok {
			return fmt.Errorf("--direction %s: want in (nothing reaches it), out (nothing that it sends arrives) or both", direction)
		}
		return do(m)
	})
	c.Flags().StringVar(&direction, "direction", direction, `"in": nothing reaches it, but what it sends arrives; "out": the other way round; "both"`)
	return c
}

func (w *pg) slow() *cobra.Command {
	writes := 20
	c := w.each("slow", "Slow a machine's disk down (up --disk)", func(_ context.Context, m *playground.Machine) error { return m.Slow(writes) })
	c.Flags().IntVar(&writes, "writes", writes, "Writes that the disk makes in a second; 0: as many as it can")
	return c
}

func (w *pg) up() *cobra.Command {
	managers, workers := 3, 2
	var disk opts.MemBytes
	quiet := false
	c := &cobra.Command{
		Use: "up", Short: "Make a cluster", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			say := func(s string) { fmt.Fprintln(cmd.OutOrStdout(), "·", s) }
			if managers < 1 || workers < 0 || managers+workers > 99 {
				return errors.New("want at least one manager, and at most 99 machines")
			}
			p, err := playground.New(playground.Config{Dir: w.dir, Disk: disk.Value()})
			if err != nil {
				return err
			}
			err = p.StartRegistry(cmd.Context())
			if err == nil {
				err = p.Up(cmd.Context(), managers, workers, say)
			}
			if err != nil {
				return fmt.Errorf("%w\n(what there is stays for a look: shoal playground status; remove it with: shoal playground down)", err)
			}
			say(fmt.Sprintf("%d managers and %d workers are ready", managers, workers))
			if !quiet {
				w.goOn(cmd, p)
			}
			return nil
		},
	}
	c.Flags().IntVar(&managers, "managers", managers, "Number of managers")
	c.Flags().IntVar(&workers, "workers", workers, "Number of workers")
	c.Flags().Var(&disk, "disk", "Size of a disk of its own for each machine, which can be slow or full (2G; default: folders on this machine's disk)")
	c.Flags().BoolVarP(&quiet, "quiet", "q", false, "Leave out how to go on")
	return c
}

func (w *pg) goOn(cmd *cobra.Command, p *playground.Playground) {
	fmt.Fprintf(cmd.OutOrStdout(), `
Speak to the first manager from here:
  export DOCKER_HOST=unix://%s
  shoal node ls
  shoal service create --name web --replicas 6 --publish 8080:80 %s/%s:v1
  shoal playground exec client curl -s http://%s:8080
Break things:       shoal playground kill 5      (start 5, partition 4, heal 4, pause 2, unpause 2, crash 1)
Remove everything:  shoal playground down
`, p.Machines()[0].Socket(), p.Registry(), SampleImage, p.Machines()[0].Address)
}

func (w *pg) exec() *cobra.Command {
	c := &cobra.Command{
		Use: "exec MACHINE COMMAND [ARG...]", Short: "Run a command on a machine", Args: cobra.MinimumNArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			p, err := playground.Open(w.dir)
			if err != nil {
				return err
			}
			m, err := p.Find(args[0])
			if err != nil {
				return err
			}
			code, err := onTerminal(cmd.Context(), m, playground.Command{
				Args: args[1:], Env: []string{"TERM=" + os.Getenv("TERM")}, Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr,
			})
			if err != nil {
				return err
			}
			if code != 0 {
				return exit(code)
			}
			return nil
		},
	}
	c.Flags().SetInterspersed(false)
	return c
}

func (w *pg) forward() *cobra.Command {
	address := "127.0.0.1"
	c := &cobra.Command{
		Use: "forward PORT[:MACHINEPORT]", Short: "Lead a port of this machine to the cluster, until interrupted", Args: cobra.ExactArgs(1),
		Long: `Take connections on a port of this machine and lead them to that port of the machines in turn, as a load balancer in
front of the cluster would. A machine that does not accept is passed over.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			port, inner, err := playground.ParseForward(args[0])
			if err != nil {
				return err
			}
			p, err := playground.Open(w.dir)
			if err != nil {
				return err
			}
			l, err := net.Listen("tcp", net.JoinHostPort(address, strconv.Itoa(port)))
			if err != nil {
				return err
			}
			fmt.Fprintf(cmd.OutOrStdout(), "http://%s leads to port %d of the machines\n", l.Addr(), inner)
			return p.Forward(cmd.Context(), l, inner)
		},
	}
	c.Flags().StringVar(&address, "address", address, "Address to listen on")
	return c
}

// each is a word that does one thing to every machine it is given.
func (w *pg) each(word, short string, do func(context.Context, *playground.Machine) error) *cobra.Command {
	return &cobra.Command{
		Use: word + " MACHINE...", Short: short, Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			p, err := playground.Open(w.dir)
			if err != nil {
				return err
			}
			var errs []error
			for _, arg := range args {
				m, err := p.Find(arg)
				if err == nil {
					err = do(cmd.Context(), m)
				}
				errs = append(errs, err)
			}
			return errors.Join(errs...)
		},
	}
}

func (w *pg) status() *cobra.Command {
	return &cobra.Command{
		Use: "status", Short: "Show the machines", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			p, err := playground.Open(w.dir)
			if err != nil {
				return err
			}
			t := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 0, 3, ' ', 0)
			fmt.Fprintln(t, "MACHINE\tADDRESS\tPOWER\tCABLE\tDAEMON")
			for _, m := range p.Machines() {
				fmt.Fprintln(t, strings.Join([]string{
					m.Name, m.Address.String(), either(m.On(), either(m.Paused(), "paused", "on"), "off"),
					m.Cable(), either(m.Answers(cmd.Context()), "answers", "silent"),
				}, "\t"))
			}
			return t.Flush()
		},
	}
}

func (w *pg) down() *cobra.Command {
	return &cobra.Command{
		Use: "down", Short: "Remove the cluster without a trace", Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			dir, err := filepath.Abs(w.dir)
			if err != nil {
				return err
			}
			p, err := playground.Open(dir)
			if err != nil {
				return err
			}
			return p.Remove()
		},
	}
}

func either(b bool, yes, no string) string {
	if b {
		return yes
	}
	return no
}
