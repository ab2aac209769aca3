package chaos

import (
	"context"
	"errors"
	"strings"
	"syscall"

	"github.com/moby/moby/api/types/swarm"
	"github.com/moby/moby/client"

	"shoal/internal/cli/playground"
)

// fault is a way to break a machine. begin returns when it is broken, end when nothing is in the way of its recovery.
type fault struct {
	begin, end func(context.Context, *playground.Machine) error
	// during is asked while it is broken, after the clients have met it; nil: nothing.
	during func(*rig, string, *playground.Machine)
	// leaves says that the machine's tasks are to run elsewhere if it lasts.
	leaves bool
}

// slowWrites is how many writes a second a slow disk makes.
const slowWrites = 8

var faults = map[string]fault{
	"kill":  {begin: daemon(syscall.SIGKILL, true), end: start},
	"stop":  {begin: daemon(syscall.SIGSTOP, false), end: daemon(syscall.SIGCONT, false)},
	"pause": {begin: plain((*playground.Machine).Pause), end: plain((*playground.Machine).Resume), leaves: true},
	"power": {begin: plain((*playground.Machine).Off), end: boot, leaves: true},
	"cut":   {begin: plain((*playground.Machine).Cut), end: plain((*playground.Machine).Heal), leaves: true},
	"deaf":  {begin: plain((*playground.Machine).Deafen), end: plain((*playground.Machine).Heal), leaves: true},
	"mute":  {begin: plain((*playground.Machine).Mute), end: plain((*playground.Machine).Heal), leaves: true},
	"slow": {
		begin: func(_ context.Context, m *playground.Machine) error { return m.Slow(slowWrites) },
		end:   func(_ context.Context, m *playground.Machine) error { return m.Slow(0) },
	},
	"full": {begin: plain((*playground.Machine).Fill), end: plain((*playground.Machine).Empty), during: refusesOnFullDisk},
}

// targets are what is broken.
var targets = []string{"leader", "follower", "worker"}

func plain(do func(*playground.Machine) error) func(context.Context, *playground.Machine) error {
	return func(_ context.Context, m *playground.Machine) error { return do(m) }
}

func daemon(s syscall.Signal, ends bool) func(context.Context, *playground.Machine) error {
	return func(ctx context.Context, m *playground.Machine) error {
		pid, err := m.DaemonPID()
		if err == nil && pid == 0 {
			err = errors.New("the daemon does not run")
		}
		return errors.Join(err, m.Signal(ctx, pid, s, ends))
	}
}

func start(ctx context.Context, m *playground.Machine) error { return m.StartDaemon(ctx) }

func boot(ctx context.Context, m *playground.Machine) error {
	return errors.Join(m.Boot(), m.StartDaemon(ctx))
}

// refusesOnFullDisk: a leader with a full disk says so, whichever manager is asked, and writes nothing; a follower's full disk
// is nobody's business.
func refusesOnFullDisk(r *rig, target string, m *playground.Machine) {
	r.Helper()
	asked := r.machine(m.Number%managers + 1) // another manager
	ctx, cancel := context.WithTimeout(r.Context(), requestTime)
	defer cancel()
	res, err := r.api[asked.Number].ConfigCreate(ctx, client.ConfigCreateOptions{Spec: swarm.ConfigSpec{
		Annotations: swarm.Annotations{Name: "while-full-" + m.Name}, Data: []byte("x"),
	}})
	if err == nil {
		_, err := r.api[asked.Number].ConfigRemove(ctx, res.ID, client.ConfigRemoveOptions{})
		if err != nil {
			r.Errorf("%s is full; a config that was made cannot be removed: %v", target, err)
		}
		if target == "leader" && r.leader().Number == m.Number {
			r.Error("a leader with a full disk took a write")
		}
		return
	}
	if target != "leader" {
		r.Errorf("a %s with a full disk, and a write is refused: %v", target, err)
	} else if !strings.Contains(err.Error(), "no space left") {
		r.Errorf("a leader with a full disk says: %v", err)
	}
}
