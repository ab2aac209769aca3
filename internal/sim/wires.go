package sim

import "time"

// wires says which host can send to which, and how long that takes.
type wires struct {
	cuts  map[[2]string]bool // from, to
	moved chan struct{}      // closed by the next change
}

func newWires() wires {
	return wires{cuts: map[[2]string]bool{}, moved: make(chan struct{})}
}

// way says whether what from sends arrives at to.
func (n *wires) way(from, to string) bool { return !n.cuts[[2]string{from, to}] }

// both says whether they reach each other.
func (n *wires) both(a, b string) bool { return n.way(a, b) && n.way(b, a) }

// cut lets nothing through in one direction.
func (n *wires) cut(from, to string) {
	if from != to {
		n.cuts[[2]string{from, to}] = true
		n.change()
	}
}

func (n *wires) heal() {
	clear(n.cuts)
	n.change()
}

func (n *wires) change() {
	close(n.moved)
	n.moved = make(chan struct{})
}

// Times on the way.
const (
	tripQuick = 4 * time.Millisecond
	tripSlow  = 300 * time.Millisecond
	// keepAlive is how long an end that hears nothing holds on to a connection.
	keepAlive = 15 * time.Second
)
