package store

import "time"

// Tx is a transaction being made: it reads like a [View], its own writes included. It is good only inside the function
// that was given it.
type Tx struct {
	state   *state // the speculative one, written in place
	now     time.Time
	changes []rowChange
	seen    map[rowKey]int // position in changes; only for transactions of some size
	over    bool
}

type rowKey struct {
	pos int
	id  string
}

// rowChange is what a transaction did to one object in all.
type rowChange struct {
	rowKey
	old, now any // *T; nil: none
}

// Now is the transaction's one time, in UTC: after that of every earlier transaction, also those of leaders whose clocks
// are ahead of this one's.
func (tx *Tx) Now() time.Time { return tx.now }

// Index is the index that the transaction will have, and so the version of what it puts.
func (tx *Tx) Index() uint64 { return tx.state.index + 1 }

func (tx *Tx) table(pos int) (tableRows, bool) {
	if tx.over {
		panic("store: transaction used after its end")
	}
	return tx.state.tables[pos], !tx.state.owned[pos]
}

func (tx *Tx) write(pos int, id string, old, o any) {
	tx.state.set(pos, id, o)
	key := rowKey{pos, id}
	if i, ok := tx.find(key); ok {
		tx.changes[i].now = o
		return
	}
	tx.changes = append(tx.changes, rowChange{rowKey: key, old: old, now: o})
	if tx.seen != nil {
		tx.seen[key] = len(tx.changes) - 1
	}
}

// few is how many changes are looked through before a map of them is kept.
const few = 8

func (tx *Tx) find(key rowKey) (int, bool) {
	if tx.seen == nil && len(tx.changes) >= few {
		tx.seen = make(map[rowKey]int, 2*few)
		for i, c := range tx.changes {
			tx.seen[c.rowKey] = i
		}
	}
	if tx.seen != nil {
		i, ok := tx.seen[key]
		return i, ok
	}
	for i, c := range tx.changes {
		if c.rowKey == key {
			return i, true
		}
	}
	return 0, false
}

// settle ends the transaction and returns what it changed: what came and went inside it is left out.
func (tx *Tx) settle() []rowChange {
	tx.over = true
	kept := tx.changes[:0]
	for _, c := range tx.changes {
		if c.old != nil || c.now != nil {
			kept = append(kept, c)
		}
	}
	return kept
}

// undo ends the transaction and takes back all it wrote.
func (tx *Tx) undo() {
	tx.over = true
	for _, c := range tx.changes {
		tx.state.set(c.pos, c.id, c.old)
	}
}
