package store

import (
	"fmt"
	"slices"
	"sync"

	"github.com/tidwall/btree"

	"shoal/internal/cluster"
)

// tableRows is the content of one table without its type, as entries and snapshots handle it.
type tableRows interface {
	// fork returns a copy that can be written without changing the original, in constant time.
	fork() tableRows
	// set stores o (a *T) under id, or removes the id when o is nil, and returns what was there, nil if nothing.
	set(id string, o any) (old any)
	// decode reads an object and checks that it is the one with that ID.
	decode(id string, encoded []byte) (any, error)
	// each walks the objects in the order of their IDs until yield says no.
	each(yield func(id string, o any) bool)
	len() int
}

// rows is the content of one table: objects by ID, and for each index the pairs of key and ID. An index holds no
// objects, so that a write which leaves the keys as they were (almost all are) does not touch it.
type rows[T any] struct {
	table   *Table[T]
	byID    *btree.Map[string, *T]
	indexes []*btree.BTreeG[pair]
	was, is []string // scratch of set
}

type pair struct{ key, id string }

func pairLess(a, b pair) bool {
	if a.key != b.key {
		return a.key < b.key
	}
	return a.id < b.id
}

// degree is the fan-out of the trees: a node holds up to twice as many items less one. Small nodes are cheap to copy on
// write, large ones cheap to search; of 8, 16, 32 and 64, 8 and 16 were two to three times faster than the others in
// BenchmarkApply100kTasks with large transactions, and 16 the faster with small ones.
const degree = 16

func newRows[T any](t *Table[T]) *rows[T] {
	r := &rows[T]{table: t, byID: btree.NewMap[string, *T](degree)}
	for range t.indexes {
		r.indexes = append(r.indexes, btree.NewBTreeGOptions(pairLess, btree.Options{NoLocks: true, Degree: degree}))
	}
	return r
}

// forking serialises forks. A fork touches a mark in the tree it copies, which readers do not look at but another fork
// does; forks take nanoseconds and there are few.
var forking sync.Mutex

func (r *rows[T]) fork() tableRows { return r.forkRows() }

func (r *rows[T]) forkRows() *rows[T] {
	forking.Lock()
	defer forking.Unlock()
	next := &rows[T]{table: r.table, byID: r.byID.IsoCopy(), indexes: make([]*btree.BTreeG[pair], len(r.indexes))}
	for i, index := range r.indexes {
		next.indexes[i] = index.IsoCopy()
	}
	return next
}

func (r *rows[T]) set(id string, object any) any {
	o, _ := object.(*T)
	var old *T
	if o == nil {
		old, _ = r.byID.Delete(id)
	} else {
		old, _ = r.byID.Set(id, o)
	}
	for i, index := range r.table.indexes {
		r.was, r.is = r.was[:0], r.is[:0]
		if old != nil {
			r.was = index.keys(r.was, old)
		}
		if o != nil {
			r.is = index.keys(r.is, o)
		}
		r.reindex(r.indexes[i], id)
	}
	return asAny(old)
}

// reindex moves id from the keys it had to those it has.
func (r *rows[T]) reindex(tree *btree.BTreeG[pair], id string) {
	for _, key := range r.was {
		if !slices.Contains(r.is, key) {
			tree.Delete(pair{key, id})
		}
	}
	for _, key := range r.is {
		if key != "" && !slices.Contains(r.was, key) {
			tree.Set(pair{key, id})
		}
	}
}

func (r *rows[T]) walk(index int, key string, yield func(*T) bool) {
	r.indexes[index].Ascend(pair{key: key}, func(p pair) bool {
		if p.key != key {
			return false
		}
		o, _ := r.byID.Get(p.id)
		return yield(o)
	})
}

func (r *rows[T]) decode(id string, encoded []byte) (any, error) {
	o := new(T)
	if err := cluster.Unmarshal(encoded, o); err != nil {
		return nil, fmt.Errorf("decode %s %q: %w", r.table.noun, id, err)
	}
	if got := r.table.id(o); got != id || id == "" {
		return nil, fmt.Errorf("decode %s %q: it calls itself %q", r.table.noun, id, got)
	}
	return o, nil
}

func (r *rows[T]) each(yield func(string, any) bool) {
	r.byID.Scan(func(id string, o *T) bool { return yield(id, o) })
}

func (r *rows[T]) len() int { return r.byID.Len() }
