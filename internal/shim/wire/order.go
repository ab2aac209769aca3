package wire

import (
	"encoding/json"
	"fmt"
	"time"
)

// Annotation is the key under which a container's OCI spec carries its [Order]. A spec without it gets no logs, no
// exit record and no attach socket.
const Annotation = "io.shoal.order"

// Order tells a shim what to do beside running the container. All paths are absolute.
type Order struct {
	Log       string          `json:",omitempty"` // the log file; empty: keep no log (driver none)
	MaxSize   int64           `json:",omitempty"` // bytes at which the log is rotated; 0: never
	MaxFiles  int             `json:",omitempty"` // how many files a rotated log has, the present one counted; 0 means 1
	Attrs     json.RawMessage `json:",omitempty"` // an object added to each line; empty: none
	Exit      string          // where the exit record goes
	Attach    string          `json:",omitempty"` // the attach socket; empty: none
	Stdin     bool            `json:",omitempty"` // the container's standard input stays open for clients
	StdinOnce bool            `json:",omitempty"` // the first client to end its input ends the container's
	Cgroup    string          `json:",omitempty"` // the container's cgroup below each hierarchy, to count OOM kills
}

// Encode returns the order as the annotation's value.
func (o Order) Encode() (string, error) {
	b, err := json.Marshal(o)
	if err != nil {
		return "", fmt.Errorf("encode shim order: %w", err)
	}
	return string(b), nil
}

// Exit is the record of a container's end. The shim writes it before anybody is told, so it outlives a containerd
// and a daemon that are not there to hear.
type Exit struct {
	Code       uint32
	FinishedAt time.Time
	OOM        bool   `json:",omitempty"`
	LogDropped uint64 `json:",omitempty"` // log lines that could not be written, by a full disk for example
}
