package quickstart

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/moby/moby/api/types/swarm"
	"github.com/moby/moby/client"

	"shoal/internal/cli/playground"
)

// cutWorker takes the power of a worker that runs replicas, tells what happens when, and gives it back.
func (s *Story) cutWorker(ctx context.Context) error {
	s.title("A worker loses its power, and its replicas move")
	before, err := s.settled(ctx, more)
	if err != nil {
		return err
	}
	victim, lost := s.busiest(before)
	if err := s.playground(ctx, "kill", victim.Name); err != nil {
		return err
	}
	began := time.Now()
	s.say("%s is gone, and with it %s. Requests go on meanwhile, to the other machines.", victim.Name, names(lost))
	load := s.ask(ctx)
	defer load.end()
	if err := s.nodeIs(ctx, victim.Name, swarm.NodeStateDown); err != nil {
		return err
	}
	s.say("After %4s it is called Down: it was silent, and no other machine could reach it either.", seconds(began))
	after, err := s.without(ctx, more, victim.Name)
	if err != nil {
		return err
	}
	s.say("After %4s all %d run again:", seconds(began), more)
	for _, l := range lost {
		for _, a := range after {
			if a.name == l.name {
				s.say("           %s: %s → %s", l.name, l.node, a.node)
			}
		}
	}
	load.end()
	s.say("%d requests meanwhile, %d of them without an answer: those that fell to a lost replica before the cluster knew.", load.asked, load.failed)
	if err := s.shoal(ctx, "node", "ls", "--format", "table {{.Hostname}}\t{{.Status}}\t{{.ManagerStatus}}"); err != nil {
		return err
	}
	s.title("The power comes back: the worker is Ready again, and drops what is no longer its own")
	if err := s.playground(ctx, "start", victim.Name); err != nil {
		return err
	}
	began = time.Now()
	if err := s.nodeIs(ctx, victim.Name, swarm.NodeStateReady); err != nil {
		return err
	}
	s.say("Ready after %s. What moved away stays where it is; new replicas may come here.", seconds(began))
	return nil
}

// cutLeader takes the power of the manager that leads: another leads, and changes go on.
func (s *Story) cutLeader(ctx context.Context) error {
	s.title("The manager that leads loses its power, and another takes over")
	leader, err := s.leader(ctx, "")
	if err != nil {
		return err
	}
	old, err := s.machine(leader)
	if err != nil {
		return err
	}
	if err := s.playground(ctx, "kill", old.Name); err != nil {
		return err
	}
	began := time.Now()
	next := s.play.Machines()[0]
	if next.Name == old.Name {
		next = s.play.Machines()[1]
	}
	if err := s.speakTo(next); err != nil {
		return err
	}
	leader, err = s.leader(ctx, old.Name)
	if err != nil {
		return err
	}
	s.say("%s led. After %s %s leads: two of three managers are a majority. A change is taken as before:", old.Name, seconds(began), leader)
	if err := s.shoal(ctx, "service", "scale", "--detach", fmt.Sprintf("%s=%d", service, first)); err != nil {
		return err
	}
	if _, err := s.without(ctx, first, old.Name); err != nil {
		return err
	}
	s.say("After %s %d replicas run, none of them on %s: for all that a manager does, it is a node like the others.", seconds(began), first, old.Name)
	if err := s.playground(ctx, "start", old.Name); err != nil {
		return err
	}
	if err := s.whole(ctx); err != nil {
		return err
	}
	return s.shoal(ctx, "node", "ls", "--format", "table {{.Hostname}}\t{{.Status}}\t{{.ManagerStatus}}")
}

// busiest is the worker with the most replicas, and these.
func (s *Story) busiest(list []replica) (worker *playground.Machine, its []replica) {
	for _, m := range s.play.Machines()[managers:] {
		here := slices.DeleteFunc(slices.Clone(list), func(r replica) bool { return r.node != m.Name })
		if worker == nil || len(here) > len(its) {
			worker, its = m, here
		}
	}
	return worker, its
}

// without waits until exactly want replicas run, none of them on that node.
func (s *Story) without(ctx context.Context, want int, node string) (list []replica, err error) {
	err = until(ctx, patience, fmt.Sprintf("not %d replicas run elsewhere than on %s", want, node), func() (bool, error) {
		now, err := s.running(ctx)
		list = now
		return err == nil && len(now) == want && !slices.ContainsFunc(now, func(r replica) bool { return r.node == node }), nil
	})
	return list, err
}

// whole waits until every node is Ready and every manager Reachable.
func (s *Story) whole(ctx context.Context) error {
	return until(ctx, patience, "not every node is ready", func() (bool, error) {
		ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
		defer cancel()
		list, err := s.api.NodeList(ctx, client.NodeListOptions{})
		return err == nil && len(list.Items) == managers+workers && !slices.ContainsFunc(list.Items, func(n swarm.Node) bool {
			return n.Status.State != swarm.NodeStateReady || n.ManagerStatus != nil && n.ManagerStatus.Reachability != swarm.ReachabilityReachable
		}), nil
	})
}

func names(list []replica) string {
	if len(list) == 0 {
		return "no replica"
	}
	out := make([]string, len(list))
	for i, r := range list {
		out[i] = r.name
	}
	return strings.Join(out, ", ")
}

// nodeIs waits for a node's state.
func (s *Story) nodeIs(ctx context.Context, name string, want swarm.NodeState) error {
	return until(ctx, patience, fmt.Sprintf("%s is not %s", name, want), func() (bool, error) {
		ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
		defer cancel()
		list, err := s.api.NodeList(ctx, client.NodeListOptions{})
		return err == nil && slices.ContainsFunc(list.Items, func(n swarm.Node) bool {
			return n.Description.Hostname == name && n.Status.State == want
		}), nil // a manager that has no leader for a moment is asked again
	})
}

// leader waits until a manager other than not leads, and returns its name.
func (s *Story) leader(ctx context.Context, not string) (name string, err error) {
	err = until(ctx, patience, "no manager leads", func() (bool, error) {
		ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
		defer cancel()
		list, err := s.api.NodeList(ctx, client.NodeListOptions{})
		for _, n := range list.Items {
			if h := n.Description.Hostname; err == nil && n.ManagerStatus != nil && n.ManagerStatus.Leader && h != not {
				name = h
			}
		}
		return name != "", nil
	})
	return name, err
}

// load asks the machines that are on, one after the other, from outside.
type load struct {
	asked, failed int // valid after end
	stop          context.CancelFunc
	done          sync.WaitGroup
}

const loadInterval = 50 * time.Millisecond

func (s *Story) ask(ctx context.Context) *load {
	ctx, cancel := context.WithCancel(ctx)
	l := &load{stop: cancel}
	machines := s.living()
	answers := make(chan bool)
	l.done.Go(func() {
		var under sync.WaitGroup
		tick := time.NewTicker(loadInterval)
		defer tick.Stop()
		for i := 0; ctx.Err() == nil; i++ {
			m := machines[i%len(machines)]
			under.Go(func() {
				ok := s.fromOutside(context.WithoutCancel(ctx), m, s.Port) != "" // one that was sent is waited for
				answers <- ok
			})
			select {
			case <-tick.C:
			case <-ctx.Done():
			}
		}
		under.Wait()
		close(answers)
	})
	l.done.Go(func() {
		for ok := range answers {
			l.asked++
			if !ok {
				l.failed++
			}
		}
	})
	return l
}

// end stops asking and waits for the answers under way.
func (l *load) end() {
	l.stop()
	l.done.Wait()
}

// fromOutside asks machine m from the client machine; "" if there is no good answer.
func (s *Story) fromOutside(ctx context.Context, m *playground.Machine, port int) string {
	return get(ctx, fmt.Sprintf("http://%s:%d/", m.Address, port), s.play.Client().Dial)
}
