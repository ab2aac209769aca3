package dispatch

// progress knows up to which store index a node's data plane is known to be: exactly, when a network state is on its
// way, and otherwise as far as all changes have been looked at, since none of them concerned the node.
type progress struct {
	dirty bool   // something changed that may concern the node
	since uint64 // the index before that change
	busy  bool   // its new state is being worked out
	from  uint64 // since, of that work
	seen  uint64 // the index of the world that the last work was made on
	// waiting are the states sent and not applied yet, oldest first.
	waiting []sentState
}

// sentState is a network state on its way.
type sentState struct {
	before uint64 // what the node is known to have without it
	index  uint64 // what it brings
}

// mark says that what comes after index before may concern the node.
func (p *progress) mark(before uint64) {
	if !p.dirty {
		p.dirty, p.since = true, before
	}
}

// begin starts to work out the node's state.
func (p *progress) begin() {
	if p.dirty {
		if !p.busy || p.since < p.from {
			p.busy, p.from = true, p.since
		}
		p.dirty = false
	}
}

// done ends that work, which was made on the world of that index; sent says that a network state went out for it.
//
// Work that no mark asked for may still find a change, in a world whose marks are yet to come: the node then has for
// sure only what the work before it saw.
func (p *progress) done(index uint64, sent bool) {
	if sent {
		before := p.seen
		if p.busy {
			before = p.from
		}
		p.waiting = append(p.waiting, sentState{before, index})
	}
	p.busy, p.seen = false, index
}

// applied notes that the node holds the network state of that index.
func (p *progress) applied(index uint64) {
	for len(p.waiting) > 0 && p.waiting[0].index <= index {
		p.waiting = p.waiting[1:]
	}
}

// at is the index that the node is known to have applied, when all changes up to looked have been looked at.
func (p *progress) at(looked uint64) uint64 {
	if p.dirty {
		looked = min(looked, p.since)
	}
	if p.busy {
		looked = min(looked, p.from)
	}
	if len(p.waiting) > 0 {
		looked = min(looked, p.waiting[0].before)
	}
	return looked
}
