package store

import "time"

// state is all tables at one index. Once published it never changes.
type state struct {
	index  uint64
	at     time.Time // of the newest entry
	tables [len(schema)]tableRows
	// owned marks the tables that are this state's alone and may be written in place; the others are shared with older
	// states and forked by the first write.
	owned [len(schema)]bool
}

func newState() *state {
	s := &state{}
	for i, t := range schema {
		s.tables[i] = t.empty()
	}
	return s
}

// fork returns a state to write to; s must not be written any more.
func (s *state) fork() *state {
	next := *s
	next.owned = [len(schema)]bool{}
	return &next
}

// freeze returns what s holds now as a state that never changes; s itself may be written on.
func (s *state) freeze() *state {
	s.owned = [len(schema)]bool{}
	frozen := *s
	return &frozen
}

// set writes one object, or removes it when o is nil, and returns what was there.
func (s *state) set(pos int, id string, o any) (old any) {
	if !s.owned[pos] {
		s.tables[pos] = s.tables[pos].fork()
		s.owned[pos] = true
	}
	return s.tables[pos].set(id, o)
}

// View is the state at one index. It never changes, costs nothing to keep but memory, and blocks nobody.
type View struct{ state *state }

// Index is the index of the newest transaction in the view.
func (v View) Index() uint64 { return v.state.index }

// Time is when that transaction was made, by the clock of its leader.
func (v View) Time() time.Time { return v.state.at }

func (v View) table(pos int) (tableRows, bool) { return v.state.tables[pos], true }
