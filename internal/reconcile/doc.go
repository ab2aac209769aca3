// Package reconcile says what one service needs next: [Service] reads the stored service, its tasks and the nodes,
// and returns a [Plan] of tasks to create, change and delete. Replicas, global services, jobs, restarts, drained and
// lost nodes, rolling updates and rollbacks are all parts of that one function.
//
// It is pure. The time, the index of the coming commit and the maker of IDs are arguments; all memory of an update or
// of a restart is in the stored objects (UpdateStatus, and the tasks' SpecID, CreatedAt, StartedAt, LeftAt, Status,
// Failures and Restarts). So any leader makes the same plan from the same state, a new one goes on in the middle of
// an update, and an unchanged cluster gives an empty plan. It places nothing and gives out no address: the caller
// passes Plan.Create and all PENDING tasks through allocate and schedule and commits everything as one transaction.
//
// # What the writers of services must do
//
// Create: set SpecID. Jobs: JobStatus{LastExecution: now}.
//
// Update: PreviousSpec = the old Spec, PreviousSpecID = the old SpecID, then Spec, SpecID; UpdateStatus = nil. The next
// pass sees the out-of-date tasks and sets UpdateStatus itself; an update that touches no task never gets one. The same
// (UpdateStatus = nil) resumes a paused update and supersedes a running one. Jobs: JobStatus.JobIteration.Index++,
// JobStatus.LastExecution = now.
//
// Rollback by hand: swap Spec with PreviousSpec and SpecID with PreviousSpecID;
// UpdateStatus = {State: rollback_started, StartedAt: &now, Message: "manually requested rollback"}.
//
// Remove: delete the service; then call Service with a nil Input.Service until no task is left.
//
// # How a task stops
//
// A running task that is in load balancing leaves it first: LeftAt and LeftIndex are set, DesiredState stays. Once all
// ready nodes have applied that index and the drain time is over, DesiredState becomes SHUTDOWN (or REMOVE).
// LeftAt is set on every task that the cluster asked to stop, whether it was in load balancing or not: a task that has
// ended with a zero LeftAt ended by itself, and the restart policy applies. Whatever derives load balancing from tasks
// must leave out those with a LeftAt.
//
// # Where a task may go
//
// Tasks of global modes, and of sticky services ([StickyLabel]), are created with the NodeID that they must go to; they
// wait, PENDING, for that node alone.
//
// A service with [RebalanceLabel] lets running tasks go elsewhere. [Movable] says which of them may go now, the caller
// sets Moving on those for which schedule finds a better place, and the next plan replaces them as it does tasks of a
// drained node; a move that fails is called off and the running task stays.
package reconcile
