// Package store is the truth about the cluster: typed tables in memory, changed only by transactions whose order a
// replicated log decides.
//
// It decides what a transaction is, what it may see, and what its index is. It knows nothing of Raft: a [Proposer]
// carries entries to every manager's [Store.Apply] in one order, and [Store.Snapshot] and [Store.Restore] stand for
// entries that are gone.
//
// Every state is an immutable tree. [Store.View] is one atomic load and may be kept for as long as its reader likes;
// writers are never blocked by readers. The objects in it are shared: copy one before you change it.
//
//	_, err := s.Update(ctx, func(tx *store.Tx) error {
//		old, err := store.Services.Find(tx, "web")
//		if err != nil {
//			return err
//		}
//		web := *old
//		web.SpecID = specID
//		store.Services.Put(tx, &web)
//		return nil
//	})
//
// The leader runs transactions on a state that already holds everything it has proposed, so that they need not wait
// for one another. An entry names the index it was made on and applies only there: whatever an overthrown leader has
// left behind can never apply out of order.
//
// Not handled: a transaction cannot span two Updates, and nothing here retries.
package store
