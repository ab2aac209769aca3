package engine

// run is one life of a container, from start to exit.
type run struct {
	done chan struct{} // closed when the process has ended and the record says so
}
