package playground

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/moby/moby/api/types/swarm"
	"github.com/moby/moby/client"
	"golang.org/x/sync/errgroup"
)

// swarmPort is where nodes meet.
const swarmPort = "2377"

// Up boots machines 1 to managers+workers, starts their daemons, and makes one swarm of them: the first machines are its
// managers. say is told what happens. It returns when every node is ready.
func (p *Playground) Up(ctx context.Context, managers, workers int, say func(string)) error {
	say(fmt.Sprintf("booting %d machines", managers+workers))
	if err := p.bootAll(ctx, managers+workers); err != nil {
		return err
	}
	nodes := p.Machines()
	first := nodes[0]
	say("making a swarm on " + first.Name)
	c, err := first.API()
	if err != nil {
		return err
	}
	defer c.Close()
	if _, err := c.SwarmInit(ctx, client.SwarmInitOptions{ListenAddr: "0.0.0.0:" + swarmPort, AdvertiseAddr: first.Address.String()}); err != nil {
		return fmt.Errorf("swarm init on %s: %w", first.Name, err)
	}
	in, err := c.SwarmInspect(ctx, client.SwarmInspectOptions{})
	if err != nil {
		return fmt.Errorf("join tokens: %w", err)
	}
	for i, m := range nodes[1:] {
		role, token := "manager", in.Swarm.JoinTokens.Manager
		if i+1 >= managers {
			role, token = "worker", in.Swarm.JoinTokens.Worker
		}
		say(fmt.Sprintf("joining %s as a %s", m.Name, role))
		if err := m.join(ctx, token, first); err != nil {
			return err
		}
	}
	return waitReady(ctx, c, len(nodes))
}

func (p *Playground) bootAll(ctx context.Context, n int) error {
	g, ctx := errgroup.WithContext(ctx)
	for i := range n {
		m, err := p.Machine(i + 1)
		if err != nil {
			return err
		}
		if err := m.Boot(); err != nil {
			return err
		}
		g.Go(func() error { return m.StartDaemon(ctx) })
	}
	return g.Wait()
}

func (m *Machine) join(ctx context.Context, token string, first *Machine) error {
	c, err := m.API()
	if err != nil {
		return err
	}
	defer c.Close()
	_, err = c.SwarmJoin(ctx, client.SwarmJoinOptions{
		ListenAddr: "0.0.0.0:" + swarmPort, AdvertiseAddr: m.Address.String(),
		RemoteAddrs: []string{first.Address.String() + ":" + swarmPort}, JoinToken: token,
	})
	if err != nil {
		return fmt.Errorf("swarm join on %s: %w", m.Name, err)
	}
	return nil
}

// API is a client of the machine's daemon. Close it.
func (m *Machine) API() (*client.Client, error) {
	c, err := client.New(client.WithHost("unix://" + m.Socket()))
	if err != nil {
		return nil, fmt.Errorf("machine %s: %w", m.Name, err)
	}
	return c, nil
}

func waitReady(ctx context.Context, c *client.Client, want int) error {
	ctx, cancel := context.WithTimeoutCause(ctx, time.Minute, errors.New("not all nodes are ready after a minute"))
	defer cancel()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		ready := 0
		list, err := c.NodeList(ctx, client.NodeListOptions{})
		for _, n := range list.Items {
			if n.Status.State == swarm.NodeStateReady {
				ready++
			}
		}
		if err == nil && ready == want {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%w: %d of %d (%w)", context.Cause(ctx), ready, want, errors.Join(err))
		case <-tick.C:
		}
	}
}

// StartRegistry serves the sample images on the switch, at Registry's address.
func (p *Playground) StartRegistry(ctx context.Context) error {
	return p.startRegistry(ctx, "sample", "registry", "--addr", p.Registry())
}

func (p *Playground) startRegistry(ctx context.Context, args ...string) error {
	log, err := os.Create(filepath.Join(p.Switch().Dir, "registry.log"))
	if err != nil {
		return err
	}
	defer log.Close()
	pid, err := p.Switch().Spawn(ctx, Command{Args: append([]string{p.Shoal}, args...), Stdout: log, Stderr: log})
	if err != nil {
		return err
	}
	limit := time.NewTimer(20 * time.Second)
	defer limit.Stop()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		// Its first line says that it listens.
		if out := tail(log.Name(), 3); strings.Contains(out, "serving") {
			return nil
		} else if p.Switch().Signal(ctx, pid, 0, false) != nil {
			return fmt.Errorf("the registry has ended: %s", out)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-limit.C:
			return errors.New("the registry does not start")
		case <-tick.C:
		}
	}
}
