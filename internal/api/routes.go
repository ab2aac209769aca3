package api

import (
	"net/http"
	"slices"
	"strings"

	"github.com/containerd/errdefs"

	"shoal/internal/cluster"
)

// scope says which node answers a route.
type scope int

const (
	nodeScope  scope = iota // this node
	swarmScope              // the leader: a manager that is not leader forwards, any other node refuses
)

// handler answers one route. An error that it returns before it has written anything becomes the answer, by the map in
// errors.go; after that it only ends the answer.
type handler func(w http.ResponseWriter, r *http.Request) error

// route is one line of the table. The pattern's segments are literals, {name} for one segment, or {name...} for one or
// more (image names have slashes); values are read by r.PathValue.
type route struct {
	method  string
	pattern string
	min     version // 0: from the oldest
	max     version // 0: to the newest
	scope   scope
	handler handler
}

// table finds routes by path. Routes with fewer wildcards come first, so that /images/json is not an image.
type table []compiled

type compiled struct {
	route
	segments []string
}

func newTable(parts ...[]route) table {
	var t table
	for _, rt := range slices.Concat(parts...) {
		t = append(t, compiled{rt, strings.Split(strings.TrimPrefix(rt.pattern, "/"), "/")})
	}
	slices.SortStableFunc(t, func(a, b compiled) int { return wildness(a.segments) - wildness(b.segments) })
	return t
}

func wildness(segments []string) int {
	n := 0
	for _, s := range segments {
		switch {
		case strings.HasSuffix(s, "...}"):
			n += 100
		case strings.HasPrefix(s, "{"):
			n++
		}
	}
	return n
}

// find returns the route of a request with its path values. ErrNotFound "page not found": the path is unknown, or not
// in this version; errMethod: only the method is.
func (t table) find(method, path string, v version) (*route, map[string]string, error) {
	parts := strings.Split(strings.TrimPrefix(strings.TrimSuffix(path, "/"), "/"), "/")
	known := false
	for i := range t {
		rt := &t[i]
		if rt.min != 0 && v < rt.min || rt.max != 0 && v > rt.max {
			continue
		}
		values, ok := match(rt.segments, parts)
		if !ok {
			continue
		}
		if rt.method == method {
			return &rt.route, values, nil
		}
		known = true
	}
	if known {
		return nil, nil, errMethod
	}
	return nil, nil, cluster.Errorf(errdefs.ErrNotFound, "page not found")
}

// match fits path segments to a pattern's. At most one segment of a pattern is {name...}; it takes what the others
// leave, at least one segment.
func match(segments, parts []string) (map[string]string, bool) {
	if len(parts) < len(segments) {
		return nil, false
	}
	extra := len(parts) - len(segments) // segments that {name...} takes beyond its first
	var values map[string]string
	at := 0
	for _, s := range segments {
		value := parts[at]
		at++
		if strings.HasSuffix(s, "...}") {
			value = strings.Join(parts[at-1:at+extra], "/")
			at += extra
		}
		switch {
		case !strings.HasPrefix(s, "{"):
			if s != value {
				return nil, false
			}
			continue
		case value == "":
			return nil, false
		}
		if values == nil {
			values = make(map[string]string, 2)
		}
		values[strings.TrimSuffix(strings.Trim(s, "{}"), "...")] = value
	}
	return values, at == len(parts)
}
