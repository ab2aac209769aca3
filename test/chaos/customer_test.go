package chaos

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/moby/moby/api/types/swarm"
	"github.com/moby/moby/client"
)

const (
	customers = 8
	keys      = 4
	valueKey  = "value" // the label that holds a key's value
)

// market is the clients at work, and what they have seen.
type market struct {
	r       *rig
	ids     []string // of the configs that are the keys
	history *history
	stop    func() // ends the clients and waits for them

	mu      sync.Mutex
	answers map[string]int // how often each kind of answer came
}

// open lets the clients in.
func (r *rig) open() *market {
	r.Helper()
	m := &market{r: r, history: newHistory(), answers: map[string]int{}}
	for k := range keys {
		res, err := r.api[1].ConfigCreate(r.Context(), client.ConfigCreateOptions{Spec: swarm.ConfigSpec{
			Annotations: swarm.Annotations{Name: fmt.Sprintf("key%d-%d", k, time.Now().UnixNano())}, Data: []byte("x"),
		}})
		if err != nil {
			r.Fatal(err)
		}
		m.ids = append(m.ids, res.ID)
	}
	ctx, cancel := context.WithCancel(r.Context())
	var wg sync.WaitGroup
	for c := range customers {
		wg.Go(func() { m.shop(ctx, c) })
	}
	m.stop = func() { cancel(); wg.Wait() }
	return m
}

// shop reads and writes keys through a manager after the other until ctx ends.
func (m *market) shop(ctx context.Context, me int) {
	random := rand.New(rand.NewPCG(uint64(me), 1))
	for turn := 0; ctx.Err() == nil; turn++ {
		api, id := m.r.api[1+random.IntN(managers)], m.ids[random.IntN(keys)]
		call := m.history.now()
		have, err := m.read(ctx, api, id)
		if err != nil {
			m.count("read: " + err.Error())
			if !pause(ctx, 50*time.Millisecond) {
				return
			}
			continue
		}
		value := have.Spec.Labels[valueKey]
		m.history.add(me, call, input{key: id}, output{value: value})
		if random.IntN(3) == 0 {
			continue
		}
		api = m.r.api[1+random.IntN(managers)]
		to := fmt.Sprintf("%d-%d", me, turn)
		call = m.history.now()
		m.note(ctx, me, call, input{key: id, write: true, from: value, to: to}, m.write(api, have, to))
	}
}

func (m *market) read(ctx context.Context, api *client.Client, id string) (swarm.Config, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTime)
	defer cancel()
	res, err := api.ConfigInspect(ctx, id, client.ConfigInspectOptions{})
	return res.Config, err
}

// write is not cut off by the end of the test: an answer that could be had is not thrown away.
func (m *market) write(api *client.Client, have swarm.Config, to string) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(m.r.Context()), requestTime)
	defer cancel()
	spec := have.Spec
	spec.Labels = maps.Clone(spec.Labels)
	if spec.Labels == nil {
		spec.Labels = map[string]string{}
	}
	spec.Labels[valueKey] = to
	_, err := api.ConfigUpdate(ctx, have.ID, client.ConfigUpdateOptions{Version: have.Version, Spec: spec})
	return err
}

// note adds a write to the history. Some refusals promise that nothing was written; the check takes them at their word.
func (m *market) note(ctx context.Context, me int, call int64, in input, err error) {
	switch {
	case err == nil:
		m.history.add(me, call, in, output{outcome: done})
		return
	case strings.Contains(err.Error(), "update out of sequence"):
		m.history.add(me, call, in, output{outcome: refused})
		return
	case strings.Contains(err.Error(), noLeader), strings.Contains(err.Error(), "no space left"), notAsked(err):
	default:
		m.history.add(me, call, in, output{outcome: open})
	}
	m.count("write: " + err.Error())
	pause(ctx, 50*time.Millisecond)
}

// notAsked says that no daemon took the request.
func notAsked(err error) bool {
	return strings.Contains(err.Error(), "Cannot connect") || strings.Contains(err.Error(), "failed to connect")
}

// noLeader is Docker's sentence for a manager that cannot answer for the swarm, without the part that may differ.
const noLeader = "The swarm does not have a leader. It's possible that too few managers are online"

func (m *market) count(answer string) {
	answer = ids.ReplaceAllString(answer, "…")
	m.mu.Lock()
	defer m.mu.Unlock()
	m.answers[answer]++
}

// close ends the clients, reads every key once more by every manager, and holds the history to its promise.
func (m *market) close() {
	m.r.Helper()
	m.stop()
	for n := 1; n <= managers; n++ {
		for _, id := range m.ids {
			call := m.history.now()
			have, err := m.read(m.r.Context(), m.r.api[n], id)
			if err != nil {
				m.r.Errorf("key %s by manager %d: %v", id, n, err)
				continue
			}
			m.history.add(customers, call, input{key: id}, output{value: have.Spec.Labels[valueKey]})
		}
	}
	began := time.Now()
	got, why := m.history.check()
	m.r.Logf("%d operations in %v: %s (found in %v)", m.history.len(), time.Duration(m.history.now()).Round(time.Second), got, time.Since(began).Round(time.Millisecond))
	for _, answer := range slices.Sorted(maps.Keys(m.answers)) {
		m.r.Logf("%5d × %.200s", m.answers[answer], answer)
	}
	if got != "Ok" {
		m.r.Errorf("the history of reads and writes is %s, want one that some order explains:\n%s", got, why)
	}
}

// ids are what tells two answers of one kind apart: IDs, versions, folders.
var ids = regexp.MustCompile(`[a-z0-9]{25}|[0-9]+( KiB)?\b|%2Ftmp[^/]*|node[0-9]`)

// pause returns after d, or false when ctx has ended.
func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
