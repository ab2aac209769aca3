package dispatch

import "time"

// DefaultPeriod is the heartbeat period of a cluster that sets none. A node beats five times in it.
const DefaultPeriod = 5 * time.Second

// probe is what is known of a silent node's machine.
type probe int

const (
	probeNone  probe = iota
	probeAsked       // under way
	probeAlive       // the machine answers: the daemon or the link to us is at fault
	probeDead        // nobody can reach it
)

// beat is what decides whether a node is late.
type beat struct {
	last   time.Time // it was heard of; for one that never was, when this leader began to wait
	closed bool      // its connection was closed: the machine lives, its daemon went
	probe  probe
}

// Verdict is what to do about a node.
type Verdict int

// Verdicts.
const (
	Wait  Verdict = iota
	Probe         // find out whether its machine lives
	Down          // it is down
)

// judge says what to do about a node at now. Silence of one period asks for a probe, and nobody reaching the machine is
// DOWN at once; a machine that answers gets two periods more. A closed connection gets one and a half in all, as
// its daemon probably restarts, within a second or two, and its containers run on.
func judge(b beat, period time.Duration, now time.Time) Verdict {
	silent := now.Sub(b.last)
	switch {
	case b.closed:
		if silent >= period*3/2 {
			return Down
		}
	case silent < period:
	case b.probe == probeNone:
		return Probe
	case b.probe == probeDead, silent >= 3*period:
		return Down
	}
	return Wait
}

// deadline is the first moment at which a node that is not heard of may be more than waited for.
func deadline(b beat, period time.Duration) time.Time {
	if b.closed {
		return b.last.Add(period * 3 / 2)
	}
	return b.last.Add(period)
}

// fallsKept is how long a fall counts against a node.
const fallsKept = 10 * time.Minute

// fallen adds a fall to those that still count.
func fallen(falls []time.Time, now time.Time) []time.Time {
	kept := make([]time.Time, 0, len(falls)+1)
	for _, at := range falls {
		if now.Sub(at) < fallsKept {
			kept = append(kept, at)
		}
	}
	return append(kept, now)
}
