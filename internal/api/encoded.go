package api

import (
	"encoding/json"
	"net/http"
	"strconv"
	"sync"

	"github.com/moby/moby/api/types/swarm"
)

// encodedNodes keeps nodes as they were last answered with, by version: encoding a thousand of them anew takes longer than all
// the rest of a listing, and makes more garbage. The zero value is empty.
type encodedNodes struct {
	mu   sync.Mutex
	kept map[string]encodedNode // by ID
}

type encodedNode struct {
	version uint64
	json    []byte
}

// list encodes a listing. Of a listing of all nodes, all that is not in it is forgotten.
func (e *encodedNodes) list(nodes []swarm.Node, all bool) ([]byte, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	next := make(map[string]encodedNode, len(nodes))
	pieces, size := make([][]byte, len(nodes)), len("[]\n")+len(nodes)
	for i := range nodes {
		n := &nodes[i]
		have, ok := e.kept[n.ID]
		if !ok || have.version != n.Version.Index || n.ManagerStatus != nil {
			b, err := json.Marshal(n)
			if err != nil {
				return nil, err
			}
			have = encodedNode{n.Version.Index, b}
		}
		if n.ManagerStatus == nil { // whether a manager answers changes without a version
			next[n.ID] = have
		}
		pieces[i] = have.json
		size += len(have.json)
	}
	if all {
		e.kept = next
	}
	body := append(make([]byte, 0, size), '[')
	for i, piece := range pieces {
		if i > 0 {
			body = append(body, ',')
		}
		body = append(body, piece...)
	}
	return append(body, ']'), nil // with room for a line's end
}

// writeBody answers with JSON that is encoded already.
func writeBody(w http.ResponseWriter, code int, body []byte) error {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", strconv.Itoa(len(body)+1))
	w.WriteHeader(code)
	_, err := w.Write(append(body, '\n'))
	return err
}
