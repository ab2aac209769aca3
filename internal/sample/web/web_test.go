package web

import (
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestAnswers(t *testing.T) {
	sick := filepath.Join(t.TempDir(), "sick")
	srv := httptest.NewServer(Handler(Config{Version: "v7", Task: "web.3", Sick: sick}))
	defer srv.Close()
	get := func(path string) (int, string) {
		t.Helper()
		r, err := http.Get(srv.URL + path)
		if err != nil {
			t.Fatal(err)
		}
		defer r.Body.Close()
		b, err := io.ReadAll(r.Body)
		if err != nil {
			t.Fatal(err)
		}
		return r.StatusCode, string(b)
	}
	_, body := get("/")
	for _, want := range []string{"version=v7 ", "task=web.3 ", "address=127.0.0.1 ", "caller=127.0.0.1\n"} {
		if !strings.Contains(body, want) {
			t.Errorf("answer %q lacks %q", body, want)
		}
	}
	if code, _ := get("/healthz"); code != http.StatusOK {
		t.Errorf("healthz %d, want 200", code)
	}
	if err := os.WriteFile(sick, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if code, _ := get("/healthz"); code != http.StatusInternalServerError {
		t.Errorf("healthz %d, want 500", code)
	}
}
