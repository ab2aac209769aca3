package chaos

import (
	"cmp"
	"fmt"
	"math"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
)

// A key is one object of the API that carries a value, written only if it still is as the writer has read it (Docker's version
// check). No value is written twice, so that a version and a value stand for each other.

// input is what a client asked for.
type input struct {
	key      string
	write    bool
	from, to string // of a write: what was read before, and the new value
}

// output is what it got.
type output struct {
	value   string // of a read
	outcome outcome
}

type outcome int

const (
	done    outcome = iota // read, or written
	refused                // not written: the value was another one by then
	open                   // a write whose answer was lost, or said that nobody knows: it may be made, now or later
)

// registers is what the keys promise: each read returns what was written last, and each write that succeeds follows the value
// that its writer had read.
var registers = porcupine.NondeterministicModel{
	Init: func() []any { return []any{""} },
	Partition: func(history []porcupine.Operation) [][]porcupine.Operation {
		byKey := map[string][]porcupine.Operation{}
		for _, o := range history {
			key := o.Input.(input).key
			byKey[key] = append(byKey[key], o)
		}
		var out [][]porcupine.Operation
		for _, ops := range byKey {
			out = append(out, ops)
		}
		return out
	},
	Step: func(state, in, out any) []any {
		value, i, o := state.(string), in.(input), out.(output)
		switch {
		case !i.write && o.value == value:
			return []any{value}
		case !i.write:
			return nil
		case o.outcome == done && value == i.from:
			return []any{i.to}
		case o.outcome == refused && value != i.from:
			return []any{value}
		case o.outcome == open && value == i.from:
			return []any{value, i.to}
		case o.outcome == open:
			return []any{value}
		}
		return nil
	},
	DescribeOperation: func(in, out any) string {
		i, o := in.(input), out.(output)
		if !i.write {
			return fmt.Sprintf("read %s", o.value)
		}
		return fmt.Sprintf("%s → %s: %s", i.from, i.to, [...]string{"done", "refused", "open"}[o.outcome])
	},
}

// history is what all clients have seen. Times are since began.
type history struct {
	began time.Time
	mu    sync.Mutex
	ops   []porcupine.Operation
}

func newHistory() *history { return &history{began: time.Now()} }

func (h *history) now() int64 { return int64(time.Since(h.began)) }

// add notes an operation that began at call and has just ended. An open one has not ended: it may take effect at any time.
func (h *history) add(client int, call int64, in input, out output) {
	ended := h.now()
	if out.outcome == open {
		ended = math.MaxInt64
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.ops = append(h.ops, porcupine.Operation{ClientId: client, Input: in, Call: call, Output: out, Return: ended})
}

func (h *history) len() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.ops)
}

// checkTime bounds the search; it takes well under a second on what the tests make.
const checkTime = time.Minute

// check says whether some order of the operations, each within its own time, explains everything that was seen.
func (h *history) check() (got porcupine.CheckResult, why string) {
	h.mu.Lock()
	ops := slices.Clone(h.ops)
	h.mu.Unlock()
	got, info := porcupine.CheckOperationsVerbose(registers.ToModel(), ops, checkTime)
	if got != porcupine.Ok {
		why = explain(ops, info)
	}
	return got, why
}

// explain shows where the longest order of a key's operations that explains them ends: what comes next fits nowhere.
func explain(ops []porcupine.Operation, info porcupine.LinearizationInfo) string {
	var b strings.Builder
	byKey := map[string]int{}
	for _, o := range ops {
		byKey[o.Input.(input).key]++
	}
	for _, orders := range info.PartialLinearizationsOperations() {
		var longest []porcupine.Operation
		for _, o := range orders {
			if len(o) > len(longest) {
				longest = o
			}
		}
		if len(longest) == 0 || len(longest) == byKey[longest[0].Input.(input).key] {
			continue
		}
		key := longest[0].Input.(input).key
		fmt.Fprintf(&b, "key %s, the end of what can be explained:\n", key)
		in := map[string]bool{}
		show := func(o porcupine.Operation) {
			fmt.Fprintf(&b, "  client %d, %v to %v: %s\n", o.ClientId, time.Duration(o.Call), time.Duration(o.Return), registers.DescribeOperation(o.Input, o.Output))
		}
		for _, o := range longest {
			in[fmt.Sprint(o.ClientId, o.Call)] = true
		}
		for _, o := range longest[max(0, len(longest)-8):] {
			show(o)
		}
		fmt.Fprintln(&b, "and what fits nowhere after it, by the time of its answer:")
		rest := slices.DeleteFunc(slices.Clone(ops), func(o porcupine.Operation) bool {
			return o.Input.(input).key != key || in[fmt.Sprint(o.ClientId, o.Call)]
		})
		slices.SortFunc(rest, func(a, b porcupine.Operation) int { return cmp.Compare(a.Return, b.Return) })
		for _, o := range rest[:min(8, len(rest))] {
			show(o)
		}
	}
	return b.String()
}

// register is a store of one key in memory, which may be broken on purpose.
type register struct {
	mu     sync.Mutex
	values []string // all that were ever written
	broken string
}

func (r *register) read(turn int) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	last := len(r.values) - 1
	if r.broken == "stale reads" && turn%20 == 0 && last > 3 {
		last -= 3
	}
	return r.values[last]
}

func (r *register) write(from, to string, turn int) outcome {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.values[len(r.values)-1] != from && r.broken != "writes without a check" {
		return refused
	}
	if r.broken != "lost writes" || turn%20 != 0 {
		r.values = append(r.values, to)
	}
	if r.broken != "told as open" || turn%20 != 0 {
		return done
	}
	return open
}

// TestCheckSeesBrokenStores: the check passes what is sound, and sees each way of being broken. Without this, a green history
// would say nothing.
func TestCheckSeesBrokenStores(t *testing.T) {
	for broken, want := range map[string]porcupine.CheckResult{
		"":                       porcupine.Ok,
		"told as open":           porcupine.Ok, // as when an answer is lost
		"stale reads":            porcupine.Illegal,
		"lost writes":            porcupine.Illegal,
		"writes without a check": porcupine.Illegal,
	} {
		t.Run("store with "+broken, func(t *testing.T) {
			t.Parallel()
			r, h := &register{values: []string{""}, broken: broken}, newHistory()
			var wg sync.WaitGroup
			for client := range 8 {
				wg.Go(func() {
					for turn := range 100 {
						call := h.now()
						value := r.read(turn)
						h.add(client, call, input{key: "k"}, output{value: value})
						runtime.Gosched() // others write in between
						to := fmt.Sprintf("%d-%d", client, turn)
						call = h.now()
						out := r.write(value, to, turn)
						h.add(client, call, input{key: "k", write: true, from: value, to: to}, output{outcome: out})
					}
				})
			}
			wg.Wait()
			if got, why := h.check(); got != want || (why != "") != (want != porcupine.Ok) {
				t.Errorf("the check says %s, want %s; it explains: %s", got, want, why)
			}
		})
	}
}
