package api

import (
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/containerd/errdefs"
	"github.com/docker/go-units"

	"shoal/internal/cluster"
	"shoal/internal/controlplane"
)

// Limits of JSON bodies in bytes. A secret or config of the greatest size allowed fits with its base64 and its labels.
const (
	bodyLimit = 4 << 20
	dataLimit = 2 << 20
)

func byteSize(n int64) string { return units.BytesSize(float64(n)) }

// decode reads the JSON body into v. ErrInvalidArgument: no body, not JSON, more than one value, another content type;
// 413: longer than limit, which is told from Content-Length before anything is read where the client sends it.
func decode(w http.ResponseWriter, r *http.Request, v any, limit int64) error {
	if err := checkJSON(r); err != nil {
		return err
	}
	if r.ContentLength > limit {
		w.Header().Set("Connection", "close") // the rest of the body is not worth reading
		return errTooLarge(limit)
	}
	dec := json.NewDecoder(http.MaxBytesReader(w, r.Body, limit))
	if err := dec.Decode(v); err != nil {
		return bodyError(err, limit)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		if err == nil {
			err = errors.New("unexpected content after JSON")
		}
		return bodyError(err, limit)
	}
	return nil
}

// decodeOptional is decode for bodies that may be left out.
func decodeOptional(w http.ResponseWriter, r *http.Request, v any, limit int64) error {
	if r.Body == nil || r.Body == http.NoBody || r.ContentLength == 0 {
		return nil
	}
	return decode(w, r, v, limit)
}

func bodyError(err error, limit int64) error {
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		return errTooLarge(limit)
	case errors.Is(err, io.EOF):
		return cluster.Errorf(errdefs.ErrInvalidArgument, "invalid JSON: got EOF while reading request body")
	}
	return cluster.Errorf(errdefs.ErrInvalidArgument, "invalid JSON: %v", err)
}

func checkJSON(r *http.Request) error {
	header := r.Header.Get("Content-Type")
	if header == "" && (r.Body == nil || r.ContentLength == 0) {
		return nil
	}
	media, _, err := mime.ParseMediaType(header)
	if err != nil {
		return cluster.Errorf(errdefs.ErrInvalidArgument, "malformed Content-Type header (%s): %v", header, err)
	}
	if media != "application/json" {
		return cluster.Errorf(errdefs.ErrInvalidArgument, "unsupported Content-Type header (%s): must be 'application/json'", header)
	}
	return nil
}

// boolParam reads a truth value of the query as Docker does: absent, "", "0", "no", "false" and "none" are false, all
// else is true.
func boolParam(r *http.Request, key string) bool {
	switch strings.ToLower(strings.TrimSpace(r.URL.Query().Get(key))) {
	case "", "0", "no", "false", "none":
		return false
	}
	return true
}

// boolParamOr is boolParam with a value for an absent key.
func boolParamOr(r *http.Request, key string, absent bool) bool {
	if !r.URL.Query().Has(key) {
		return absent
	}
	return boolParam(r, key)
}

// versionParam reads the object version that an update is based on.
func versionParam(r *http.Request) (uint64, error) {
	raw := r.URL.Query().Get("version")
	v, err := strconv.ParseUint(raw, 10, 64)
	if err != nil {
		return 0, cluster.Errorf(errdefs.ErrInvalidArgument, "invalid object version '%s': strconv.ParseUint: parsing %q: invalid syntax", raw, raw)
	}
	return v, nil
}

// filtersParam reads the filters of a listing, in both forms that clients send.
func filtersParam(r *http.Request) (controlplane.Filters, error) {
	return controlplane.ParseFilters(r.URL.Query().Get("filters"))
}

// writeJSON answers with v.
func writeJSON(w http.ResponseWriter, code int, v any) error {
	body, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return writeBody(w, code, body)
}

func badParam(name, value string) error {
	return cluster.Errorf(errdefs.ErrInvalidArgument, "invalid value %q for %q", value, name)
}

// timeParam reads a moment of the query; see [parseTime].
func timeParam(r *http.Request, name string) (time.Time, error) {
	return parseTime(name, r.URL.Query().Get(name), time.Now())
}
