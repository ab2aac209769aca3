package image

import (
	"regexp"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"

	"shoal/internal/cluster"
)

// danglingPrefix begins the record names of images that have lost their last name. Docker's own store with containerd
// calls them so too.
const danglingPrefix = "moby-dangling@"

// idPattern is what may be an image's ID or the start of one.
var idPattern = regexp.MustCompile(`^(sha256:)?[0-9a-f]{1,64}$`)

// parse reads a name as users write it: "x" is docker.io/library/x:latest. ErrInvalidArgument in Docker's words.
func parse(ref string) (reference.Named, error) {
	n, err := reference.ParseNormalizedNamed(ref)
	if err != nil {
		return nil, cluster.Errorf(errdefs.ErrInvalidArgument, "%s", err)
	}
	return reference.TagNameOnly(n), nil
}

// recordName is the name under which containerd holds the image: repository and tag, or repository and digest when
// there is one, since a pinned name means the same whatever its tag.
func recordName(n reference.Named) string {
	if d, ok := n.(reference.Digested); ok {
		return n.Name() + "@" + d.Digest().String()
	}
	return n.String()
}

// pinned returns the digest that a name asks for, or "".
func pinned(n reference.Named) digest.Digest {
	if d, ok := n.(reference.Digested); ok {
		return d.Digest()
	}
	return ""
}

// dangling says whether a record is of an image without a name.
func dangling(record string) bool { return strings.HasPrefix(record, danglingPrefix) }

// familiar shortens a record's name to what users know: "x:latest".
func familiar(record string) string {
	n, err := reference.ParseNormalizedNamed(record)
	if err != nil {
		return record
	}
	return reference.FamiliarString(n)
}

// split sorts a record into what `docker images` shows of it: the tag "repo:tag" or nothing, and the repository.
func split(record string) (tag, repo string) {
	if dangling(record) {
		return "", ""
	}
	n, err := reference.ParseNormalizedNamed(record)
	if err != nil {
		return "", ""
	}
	if _, ok := n.(reference.Digested); !ok {
		tag = reference.FamiliarString(reference.TagNameOnly(n))
	}
	return tag, reference.FamiliarName(n)
}

// notFound is Docker's sentence for an image that is not here.
func notFound(ref string) error {
	if n, err := reference.ParseNormalizedNamed(ref); err == nil && !idPattern.MatchString(ref) {
		ref = reference.FamiliarString(reference.TagNameOnly(n))
	}
	return cluster.Errorf(errdefs.ErrNotFound, "No such image: %s", ref)
}
