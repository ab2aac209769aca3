// Package wire holds what a container's shim and the engine say to each other: the order in the OCI spec, the exit
// record, the lines of the log and the frames of the attach socket. It has only the standard library below it, so that
// the engine can read it without the shim's machinery and the shim without the engine's.
//
// The attach socket. While a container has a task, its shim listens on the unix socket [Order.Attach]. Any number of
// clients may connect, before the container starts too. Both directions carry frames (see [WriteFrame]): one byte
// that names the stream, four bytes of length, big endian, and as many bytes of data.
//
//	shim → client   [Ready], empty: the client is heard from here on; what comes after this frame is complete
//	                [Stdout], [Stderr]: what the container wrote, byte for byte (all is Stdout with a terminal)
//	                end of the connection: the container has ended and all of its output has been sent
//	client → shim   [Stdin]: bytes for the container; an empty frame means that no more will come
//
// An empty Stdin frame, or the end of the connection, closes the container's own standard input if it was made for
// one client only (Order.StdinOnce) and has no terminal. A client that does not read holds the container up, as it
// does with Docker: it must read or hang up. What was written before a client connected is in the log, not here.
// Sizes of terminals go through containerd (Task.Resize), not through this socket.
package wire
