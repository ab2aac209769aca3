package reconcile

import (
	"fmt"
	"strings"

	"github.com/moby/moby/api/types/swarm"

	"shoal/internal/cluster"
)

// note logs what a plan does, one line per thing.
func (w *world) note(plan Plan) {
	if plan.Empty() {
		return
	}
	at := fmt.Sprintf("%-6s", w.now.Sub(epoch))
	for _, line := range describe(plan) {
		w.log = append(w.log, at+" "+line)
	}
}

func describe(plan Plan) []string {
	var out []string
	for _, t := range plan.Create {
		line := fmt.Sprintf("create %s %s desired=%s", place(t), t.SpecID, strings.ToUpper(string(t.DesiredState)))
		if !t.StartAfter.IsZero() {
			line += fmt.Sprintf(" after=%s", t.StartAfter.Sub(epoch))
		}
		out = append(out, line)
	}
	for _, t := range plan.Update {
		what := fmt.Sprintf("%s is to be %s", t.Status.State, strings.ToUpper(string(t.DesiredState)))
		if t.LeftIndex > 0 && t.DesiredState == swarm.TaskStateRunning {
			what = "leaves load balancing"
		}
		out = append(out, fmt.Sprintf("update %s %s: %s", place(t), t.SpecID, what))
	}
	if len(plan.Delete) > 0 {
		out = append(out, fmt.Sprintf("delete %d", len(plan.Delete)))
	}
	if s := plan.Status(); s != nil {
		out = append(out, fmt.Sprintf("status %s: %s", s.State, s.Message))
	}
	return out
}

func place(t *cluster.Task) string {
	if t.Slot == 0 {
		return "web." + t.NodeID
	}
	return fmt.Sprintf("web.%d", t.Slot)
}
