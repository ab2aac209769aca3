// Package machines gives the tests that break machines a playground of their own: the binaries under test, a folder with a short
// name and a subnet.
package machines

import (
	"cmp"
	"net/netip"
	"os"
	"path/filepath"
	"testing"

	"shoal/internal/cli/playground"
)

// New makes an empty playground in subnet, a prefix of 24 bits that no other test uses, whose machines have disks of so many
// bytes, or folders when disk is 0. It ends with the test's process; removing it is the caller's. The binaries are those of
// SHOAL_BIN, or of bin.
func New(t *testing.T, subnet string, disk int64) *playground.Playground {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Fatal("this test makes namespaces and containers: run it as root")
	}
	bin, err := filepath.Abs(cmp.Or(os.Getenv("SHOAL_BIN"), "../../bin"))
	if err != nil {
		t.Fatal(err)
	}
	shoal := filepath.Join(bin, "shoal")
	if _, err := os.Stat(shoal); err != nil {
		t.Fatalf("no binaries (make build makes them): %v", err)
	}
	dir, err := os.MkdirTemp("/tmp", "sh") // sockets lie in it, whose paths must be short
	if err != nil {
		t.Fatal(err)
	}
	p, err := playground.New(playground.Config{Dir: dir, Subnet: netip.MustParsePrefix(subnet), Shoal: shoal, Tied: true, Disk: disk})
	if err != nil {
		t.Fatal(err)
	}
	return p
}
