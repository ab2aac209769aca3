package daemon

import (
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/pflag"
)

func load(t *testing.T, file string, args ...string) (Config, error) {
	t.Helper()
	c := Defaults()
	f := pflag.NewFlagSet("daemon", pflag.ContinueOnError)
	c.Flags(f)
	if file != "" {
		path := filepath.Join(t.TempDir(), "daemon.json")
		if err := os.WriteFile(path, []byte(file), 0o600); err != nil {
			t.Fatal(err)
		}
		args = append(args, "--config-file", path)
	} else {
		c.ConfigFile = filepath.Join(t.TempDir(), "none.json")
	}
	if err := f.Parse(args); err != nil {
		return c, err
	}
	err := c.Load(f, slog.New(slog.DiscardHandler))
	return c, err
}

func TestFlagsAndFileMeet(t *testing.T) {
	c, err := load(t, `{"labels":["a=b"],"mtu":1400,"debug":true,"registry-mirrors":["http://m:5000"],
		"default-address-pools":[{"base":"10.5.0.0/16","size":24}],"live-restore":true}`, "-H", "unix:///tmp/s", "--storage-driver=overlay2")
	if err != nil {
		t.Fatal(err)
	}
	got := []any{c.Hosts, c.Labels, c.MTU, c.Debug, c.Mirrors, c.AddrPools[0].Base.String(), c.AddrPools[0].Size}
	want := []any{[]string{"unix:///tmp/s"}, []string{"a=b"}, 1400, true, []string{"http://m:5000"}, "10.5.0.0/16", 24}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

func TestDefaultHostFollowsTheExecRoot(t *testing.T) {
	c, err := load(t, "", "--exec-root", "/run/other")
	if err != nil || c.Hosts[0] != "unix:///run/other/shoal.sock" {
		t.Errorf("hosts %v, error %v", c.Hosts, err)
	}
}

func TestRefusals(t *testing.T) {
	for _, c := range []struct{ name, file, flag, want string }{
		{"unknown key", `{"colour":"red"}`, "--mtu=1", "unknown key"},
		{"twice", `{"mtu":1}`, "--mtu=2", "both as a flag and in the file"},
		{"no JSON", `{`, "--mtu=2", "unexpected end"},
		{"label", "", "--label=x", "want key=value"},
		{"level", "", "--log-level=loud", "want debug"},
		{"long exec root", "", "--exec-root=/" + strings.Repeat("x", 80), "too long"},
		{"pool", "", "--default-address-pool=base=10.0.0.0/16,size=8", "size must lie"},
		{"missing file", "", "--config-file=/nonexistent/daemon.json", "config file"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := load(t, c.file, c.flag)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v, want %q in it", err, c.want)
			}
		})
	}
}
