package engine

// Images, Volumes and Network are what the engine uses of its neighbours.
type (
	Images  interface{}
	Volumes interface{}
	Network interface{}
)
