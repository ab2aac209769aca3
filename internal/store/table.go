package store

import (
	"fmt"
	"iter"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/swarm"

	"shoal/internal/cluster"
)

// Reader is a state to read tables from: a [View], or a [*Tx] that also sees its own writes.
type Reader interface {
	// table returns the rows of the table at that position of the schema. steady says that they will never change.
	table(pos int) (rows tableRows, steady bool)
}

// Table is one kind of object, by ID. The variables of the schema are the only ones.
type Table[T any] struct {
	name    string // in entries and snapshots: never changed once released
	noun    string // in messages
	pos     int    // in the schema
	id      func(*T) string
	meta    func(*T) *swarm.Meta
	byName  *Index[T] // nil: its objects have no names
	indexes []*Index[T]
}

// Index finds a table's objects by something else than their ID.
type Index[T any] struct {
	pos int // among its table's indexes
	// keys appends the keys of o to dst; equal ones do no harm. An empty key is not indexed.
	keys func(dst []string, o *T) []string
}

// Name is the table's name as a [Change] has it.
func (t *Table[T]) Name() string { return t.name }

// Get returns the object with that ID, nil when there is none. Do not change it.
func (t *Table[T]) Get(r Reader, id string) *T {
	rows, _ := t.rows(r)
	o, _ := rows.byID.Get(id)
	return o
}

// Len returns how many objects there are.
func (t *Table[T]) Len(r Reader) int {
	rows, _ := t.rows(r)
	return rows.byID.Len()
}

// All walks the objects in the order of their IDs. In a transaction it walks what was there when the walk began, so
// that the loop may put and delete.
func (t *Table[T]) All(r Reader) iter.Seq[*T] {
	return func(yield func(*T) bool) {
		rows, steady := t.rows(r)
		if !steady {
			rows = rows.forkRows()
		}
		rows.byID.Scan(func(_ string, o *T) bool { return yield(o) })
	}
}

// By walks the objects that have that key in the index, in the order of their IDs; see [Table.All] for transactions.
func (t *Table[T]) By(r Reader, index *Index[T], key string) iter.Seq[*T] {
	return func(yield func(*T) bool) {
		rows, steady := t.rows(r)
		if !steady {
			rows = rows.forkRows()
		}
		rows.walk(index.pos, key, yield)
	}
}

// Find resolves what a user typed: a full ID, then a name, then the beginning of exactly one ID. The errors are
// Docker's: "service web not found", "service we is ambiguous (2 matches found)".
func (t *Table[T]) Find(r Reader, ref string) (*T, error) {
	if o := t.Get(r, ref); o != nil {
		return o, nil
	}
	var found *T
	matches := 0
	if t.byName != nil && ref != "" {
		for o := range t.By(r, t.byName, ref) {
			found = o
			matches++
		}
	}
	if matches == 0 && ref != "" {
		rows, _ := t.rows(r)
		rows.byID.Ascend(ref, func(id string, o *T) bool {
			if len(id) < len(ref) || id[:len(ref)] != ref {
				return false
			}
			found = o
			matches++
			return true
		})
	}
	switch matches {
	case 0:
		return nil, cluster.Errorf(errdefs.ErrNotFound, "%s %s not found", t.noun, ref)
	case 1:
		return found, nil
	}
	return nil, cluster.Errorf(errdefs.ErrInvalidArgument, "%s %s is ambiguous (%d matches found)", t.noun, ref, matches)
}

// Put writes o, which the store owns from now on: do not change it any more. It sets o's Meta: the version is the
// index of the transaction, and the times are the transaction's. To put the very object that [Table.Get] returned is
// allowed (it is copied).
func (t *Table[T]) Put(tx *Tx, o *T) {
	id := t.id(o)
	if id == "" {
		panic(fmt.Sprintf("store: put of a %s without an ID", t.noun))
	}
	old := t.Get(tx, id)
	if old == o {
		o = new(*o)
	}
	meta := t.meta(o)
	meta.Version.Index = tx.Index()
	meta.UpdatedAt = tx.Now()
	switch {
	case old != nil:
		meta.CreatedAt = t.meta(old).CreatedAt
	default:
		meta.CreatedAt = tx.Now()
	}
	tx.write(t.pos, id, asAny(old), o)
}

// Delete removes the object with that ID and says whether there was one.
func (t *Table[T]) Delete(tx *Tx, id string) bool {
	old := t.Get(tx, id)
	if old == nil {
		return false
	}
	tx.write(t.pos, id, old, nil)
	return true
}

func (t *Table[T]) rows(r Reader) (*rows[T], bool) {
	have, steady := r.table(t.pos)
	return have.(*rows[T]), steady
}

// asAny keeps a nil pointer from becoming a non-nil interface.
func asAny[T any](o *T) any {
	if o == nil {
		return nil
	}
	return o
}
