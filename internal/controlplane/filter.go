package controlplane

import (
	"bytes"
	"encoding/json"
	"maps"
	"slices"
	"strings"

	"github.com/containerd/errdefs"

	"shoal/internal/cluster"
)

// Filters is a listing's filter: for each key the values of which one must match. The zero value lets all through.
type Filters map[string][]string

// maxFilterBytes bounds a filter expression: far above what a client sends, far below what would hurt.
const maxFilterBytes = 1 << 20

// ParseFilters reads a filters parameter in either of the forms that clients send: {"key":{"value":true}} or
// {"key":["value"]}. A value given as false is no value. Anything else is ErrInvalidArgument "invalid filter".
func ParseFilters(raw string) (Filters, error) {
	if raw == "" {
		return nil, nil
	}
	if len(raw) > maxFilterBytes {
		return nil, cluster.Errorf(errdefs.ErrInvalidArgument, "invalid filter: longer than %d bytes", maxFilterBytes)
	}
	var keys map[string]json.RawMessage
	if err := json.Unmarshal([]byte(raw), &keys); err != nil {
		return nil, cluster.Errorf(errdefs.ErrInvalidArgument, "invalid filter: %v", err)
	}
	f := make(Filters, len(keys))
	for key, body := range keys {
		values, err := filterValues(body)
		if err != nil {
			return nil, cluster.Errorf(errdefs.ErrInvalidArgument, "invalid filter '%s': %v", key, err)
		}
		if len(values) > 0 {
			f[key] = values
		}
	}
	return f, nil
}

func filterValues(body json.RawMessage) ([]string, error) {
	if b := bytes.TrimSpace(body); len(b) > 0 && b[0] == '[' {
		var list []string
		if err := json.Unmarshal(b, &list); err != nil {
			return nil, err
		}
		slices.Sort(list)
		return slices.Compact(list), nil
	}
	var set map[string]bool
	if err := json.Unmarshal(body, &set); err != nil {
		return nil, err
	}
	maps.DeleteFunc(set, func(_ string, on bool) bool { return !on })
	return slices.Sorted(maps.Keys(set)), nil
}

// Check returns ErrInvalidArgument "invalid filter 'key'" for the first key, in order, that is not accepted.
func (f Filters) Check(accepted ...string) error {
	for _, key := range slices.Sorted(maps.Keys(f)) {
		if !slices.Contains(accepted, key) {
			return cluster.Errorf(errdefs.ErrInvalidArgument, "invalid filter '%s'", key)
		}
	}
	return nil
}

// Has says whether the filter names the key at all.
func (f Filters) Has(key string) bool { return len(f[key]) > 0 }

// Exact says whether value is one of the key's values; true when the filter does not name the key.
func (f Filters) Exact(key, value string) bool {
	return len(f[key]) == 0 || slices.Contains(f[key], value)
}

// Prefix says whether value begins with one of the key's values; true when the filter does not name the key.
func (f Filters) Prefix(key, value string) bool {
	return len(f[key]) == 0 || slices.ContainsFunc(f[key], func(want string) bool { return strings.HasPrefix(value, want) })
}

// Contains says whether one of the key's values is part of value; true when the filter does not name the key.
func (f Filters) Contains(key, value string) bool {
	return len(f[key]) == 0 || slices.ContainsFunc(f[key], func(want string) bool { return strings.Contains(value, want) })
}

// Labels says whether every value of the key, "name" or "name=value", holds of labels; true when the filter does not
// name the key.
func (f Filters) Labels(key string, labels map[string]string) bool {
	for _, want := range f[key] {
		name, value, exact := strings.Cut(want, "=")
		have, ok := labels[name]
		if !ok || exact && have != value {
			return false
		}
	}
	return true
}

// Bool reads the key's one value as a truth value ("1", "true", "0", "false"); absent when the filter does not name it.
func (f Filters) Bool(key string, absent bool) (bool, error) {
	values := f[key]
	if len(values) == 0 {
		return absent, nil
	}
	yes := slices.ContainsFunc(values, func(v string) bool { return v == "1" || v == "true" })
	no := slices.ContainsFunc(values, func(v string) bool { return v == "0" || v == "false" })
	if yes == no || len(values) > 2 {
		return false, cluster.Errorf(errdefs.ErrInvalidArgument, "invalid filter '%s=%s'", key, values[0])
	}
	return yes, nil
}

// Fold is Exact without regard to case.
func (f Filters) Fold(key, value string) bool {
	return len(f[key]) == 0 || slices.ContainsFunc(f[key], func(want string) bool { return strings.EqualFold(want, value) })
}

// NotLabels says whether none of the key's values, "name" or "name=value", holds of labels.
func (f Filters) NotLabels(key string, labels map[string]string) bool {
	return !slices.ContainsFunc(f[key], func(want string) bool {
		name, value, exact := strings.Cut(want, "=")
		have, ok := labels[name]
		return ok && (!exact || have == value)
	})
}
