package api

import (
	"net/http"
	"strconv"
	"strings"

	"github.com/containerd/errdefs"

	"shoal/internal/cluster"
)

// version is the minor number of an API version: 1.45 is 45.
type version int

// The versions served, as in Docker 29.
const (
	minVersion version = 40
	maxVersion version = 56
)

func (v version) String() string { return "1." + strconv.Itoa(int(v)) }

type versionKey struct{}

// versionOf is the API version that the request speaks; the newest when it named none.
func versionOf(r *http.Request) version {
	if v, ok := r.Context().Value(versionKey{}).(version); ok {
		return v
	}
	return maxVersion
}

// splitVersion takes the /v1.NN prefix off a path. A path without one speaks the newest version. ErrInvalidArgument
// with Docker's sentence for versions outside those served; a prefix that is no version stays in the path, which no
// route will match.
func splitVersion(path string) (version, string, error) {
	rest, ok := strings.CutPrefix(path, "/v")
	if !ok || rest == "" || rest[0] < '0' || rest[0] > '9' {
		return maxVersion, path, nil
	}
	number, tail, _ := strings.Cut(rest, "/")
	major, minor, ok := strings.Cut(number, ".")
	if !ok || !digits(major) || !digits(minor) {
		return maxVersion, path, nil
	}
	v := maxVersion + 1
	if n, err := strconv.Atoi(minor); err == nil && major == "1" && n <= int(maxVersion) {
		v = version(n)
	}
	switch {
	case major == "0" || v < minVersion:
		return 0, "", cluster.Errorf(errdefs.ErrInvalidArgument, "client version %s is too old. Minimum supported API version is %s, "+
			"please upgrade your client to a newer version", number, minVersion)
	case v > maxVersion:
		return 0, "", cluster.Errorf(errdefs.ErrInvalidArgument, "client version %s is too new. Maximum supported API version is %s", number, maxVersion)
	}
	return v, "/" + tail, nil
}

func digits(s string) bool {
	return s != "" && strings.Trim(s, "0123456789") == ""
}
