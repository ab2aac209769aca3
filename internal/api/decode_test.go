package api

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestSplitVersion(t *testing.T) {
	for _, tt := range []struct {
		path string
		v    version
		rest string
	}{
		{"/info", 56, "/info"},
		{"/v1.40/info", 40, "/info"},
		{"/v1.56/containers/a/json", 56, "/containers/a/json"},
		{"/v1.45", 45, "/"},
		{"/version", 56, "/version"},
		{"/volumes", 56, "/volumes"},
		{"/v1/info", 56, "/v1/info"},
		{"/v1.4a/info", 56, "/v1.4a/info"},
		{"/v1.20/info", 0, ""},
		{"/v0.50/info", 0, ""},
		{"/v1.99999999999999999999/info", 0, ""},
	} {
		v, rest, err := splitVersion(tt.path)
		if v != tt.v || rest != tt.rest || (err != nil) != (tt.v == 0) {
			t.Errorf("%s: %d %s %v, want %d %s", tt.path, v, rest, err, tt.v, tt.rest)
		}
	}
}

func FuzzPath(f *testing.F) {
	for _, s := range []string{"/v1.45/info", "/services/web/logs", "/images/a/b/c/json", "/v1.45", "//", "/v", "/images//json", "/v1.-1/x"} {
		f.Add(s)
	}
	s := New(Config{})
	f.Fuzz(func(t *testing.T, path string) {
		v, rest, err := splitVersion(path)
		if err != nil {
			return
		}
		if v < minVersion || v > maxVersion || !strings.HasSuffix(path, strings.TrimPrefix(rest, "/")) {
			t.Errorf("%q: version %d, rest %q", path, v, rest)
		}
		rt, values, err := s.routes.find(http.MethodGet, rest, v)
		if err != nil {
			return
		}
		for name, value := range values {
			if value == "" || !strings.Contains(rest, value) {
				t.Errorf("%q on %s: %s is %q", path, rt.pattern, name, value)
			}
		}
	})
}

func TestFind(t *testing.T) {
	nothing := func(http.ResponseWriter, *http.Request) error { return nil }
	table := newTable([]route{
		{method: "GET", pattern: "/images/{name...}/json", handler: nothing},
		{method: "GET", pattern: "/images/json", handler: nothing},
		{method: "GET", pattern: "/images/{name...}/history", handler: nothing},
		{method: "DELETE", pattern: "/images/{name...}", handler: nothing},
		{method: "GET", pattern: "/services/{id}", handler: nothing},
		{method: "GET", pattern: "/new", min: 50, handler: nothing},
	})
	for _, tt := range []struct {
		method, path, pattern string
		values                map[string]string
	}{
		{"GET", "/images/json", "/images/json", nil},
		{"GET", "/images/a/json", "/images/{name...}/json", map[string]string{"name": "a"}},
		{"GET", "/images/host:5000/a/b:v1/json", "/images/{name...}/json", map[string]string{"name": "host:5000/a/b:v1"}},
		{"GET", "/images/json/json", "/images/{name...}/json", map[string]string{"name": "json"}},
		{"DELETE", "/images/a/b", "/images/{name...}", map[string]string{"name": "a/b"}},
		{"GET", "/services/web", "/services/{id}", map[string]string{"id": "web"}},
		{"GET", "/services/web/", "/services/{id}", map[string]string{"id": "web"}},
		{"GET", "/services/a/b", "", nil},
		{"GET", "/services//", "", nil},
		{"GET", "/new", "", nil},
	} {
		rt, values, err := table.find(tt.method, tt.path, 45)
		got := ""
		if err == nil {
			got = rt.pattern
		}
		if got != tt.pattern || !cmp.Equal(values, tt.values) {
			t.Errorf("%s %s: %q %v, want %q %v", tt.method, tt.path, got, values, tt.pattern, tt.values)
		}
	}
	if _, _, err := table.find("POST", "/images/json", 45); err != errMethod { //nolint:errorlint // the value itself
		t.Errorf("another method: %v", err)
	}
}

func TestParseTime(t *testing.T) {
	now := time.Unix(1e9, 0).UTC()
	for value, want := range map[string]time.Time{
		"":                          {},
		"0":                         {},
		"1000":                      time.Unix(1000, 0),
		"1000.5":                    time.Unix(1000, 5e8),
		"1000.000000001":            time.Unix(1000, 1),
		"10m":                       now.Add(-10 * time.Minute),
		"2001-09-09T01:46:40Z":      now,
		"2001-09-09T03:46:40+02:00": now,
		"2001-09-09":                time.Date(2001, 9, 9, 0, 0, 0, 0, time.UTC),
	} {
		if got, err := parseTime("since", value, now); err != nil || !got.Equal(want) {
			t.Errorf("%q: %v, %v, want %v", value, got, err, want)
		}
	}
	for _, value := range []string{"never", "-1", "1.x", "99999999999999", "1.1.1"} {
		if got, err := parseTime("since", value, now); err == nil {
			t.Errorf("%q: %v, want a refusal", value, got)
		}
	}
}

func FuzzParseTime(f *testing.F) {
	for _, s := range []string{"", "0", "1.5", "10m", "2001-09-09T01:46:40Z", "-5s", "1e9"} {
		f.Add(s)
	}
	now := time.Unix(1e9, 0)
	f.Fuzz(func(t *testing.T, value string) {
		if got, err := parseTime("since", value, now); err != nil && !got.IsZero() {
			t.Errorf("%q: %v with %v", value, got, err)
		}
	})
}

func FuzzDecode(f *testing.F) {
	for _, s := range []string{`{}`, `{"Name":"a"}`, `{}{}`, `[`, "", `{"TaskTemplate":{"ContainerSpec":{"Mounts":[{}],"Healthcheck":null}}}`} {
		f.Add(s, "application/json")
	}
	f.Fuzz(func(t *testing.T, body, contentType string) {
		r := httptest.NewRequest(http.MethodPost, "/services/create", strings.NewReader(body))
		r.Header.Set("Content-Type", contentType)
		var b serviceBody
		if err := decode(httptest.NewRecorder(), r, &b, 1<<10); err != nil {
			if code := status(err); code != http.StatusBadRequest && code != http.StatusRequestEntityTooLarge {
				t.Errorf("%q: %d %v", body, code, err)
			}
			return
		}
		for v := minVersion; v <= maxVersion; v++ {
			b.at(v)
		}
	})
}

func TestBoolParam(t *testing.T) {
	for value, want := range map[string]bool{"1": true, "true": true, "yes": true, "on": true, "": false, "0": false, "no": false, "False": false, "none": false} {
		r := httptest.NewRequest(http.MethodGet, "/x?force="+value, nil)
		if got := boolParam(r, "force"); got != want {
			t.Errorf("force=%s: %v, want %v", value, got, want)
		}
	}
}
