package backup_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/containerd/errdefs"
	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"shoal/internal/backup"
)

var header = backup.Header{
	Created: time.Date(2026, 11, 24, 10, 0, 0, 0, time.UTC), ClusterID: "c1", NodeID: "n1", Hostname: "node1",
	Advertise: "10.0.0.1:2377", Index: 12, Locked: true, Membership: json.RawMessage(`{"NodeID":"n1"}`),
	Certificate: []byte("pem"), Roots: []byte("roots"), Raft: json.RawMessage(`{"Index":3}`),
}

func written(t *testing.T, body []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	if err := backup.Write(&out, header, bytes.NewReader(body)); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// read reads a whole file.
func read(r io.Reader) (backup.Header, []byte, error) {
	b, err := backup.NewReader(r)
	if err != nil {
		return backup.Header{}, nil, err
	}
	body, err := io.ReadAll(b)
	return b.Header, body, err
}

func TestWhatIsWrittenIsRead(t *testing.T) {
	for _, size := range []int{0, 1, 31, 32, 33, 128 << 10, 1 << 20} {
		body := bytes.Repeat([]byte("shoal"), size)[:size]
		file := written(t, body)
		for name, r := range map[string]io.Reader{
			"whole": bytes.NewReader(file), "in halves": iotest.HalfReader(bytes.NewReader(file)), "with data and EOF at once": iotest.DataErrReader(bytes.NewReader(file)),
		} {
			h, got, err := read(r)
			if err != nil {
				t.Fatalf("%d bytes, %s: %v", size, name, err)
			}
			if !bytes.Equal(got, body) {
				t.Errorf("%d bytes, %s: the body has changed", size, name)
			}
			if diff := cmp.Diff(header, h); diff != "" {
				t.Errorf("%d bytes, %s: header (-want +got):\n%s", size, name, diff)
			}
		}
	}
}

// No end and no flipped bit goes unnoticed.
func TestDamageIsRefused(t *testing.T) {
	file := written(t, bytes.Repeat([]byte("state"), 1000))
	rapid.Check(t, func(t *rapid.T) {
		damaged := bytes.Clone(file)
		at := rapid.IntRange(0, len(file)-1).Draw(t, "at")
		if rapid.Bool().Draw(t, "cut") {
			damaged = damaged[:at]
		} else {
			damaged[at] ^= 1 << rapid.IntRange(0, 7).Draw(t, "bit")
		}
		if _, _, err := read(bytes.NewReader(damaged)); err == nil {
			t.Fatal("taken for whole")
		}
	})
}

func TestRefusals(t *testing.T) {
	file := string(written(t, []byte("state")))
	broken := errors.New("disk on fire")
	for _, c := range []struct {
		name  string
		file  io.Reader
		class error
		words string
	}{
		{"empty", strings.NewReader(""), errdefs.ErrInvalidArgument, "not a backup"},
		{"another file", strings.NewReader(strings.Repeat("#!/bin/sh\n", 10)), errdefs.ErrInvalidArgument, "not a backup"},
		{"a newer version", strings.NewReader(strings.Replace(file, "shoal backup 1", "shoal backup 2", 1)), errdefs.ErrNotImplemented, "newer"},
		{"no body", strings.NewReader(file[:40]), errdefs.ErrDataLoss, "cut short"},
		{"no end", strings.NewReader(file[:len(file)-1]), errdefs.ErrDataLoss, "cut short"},
		{"more than there was", strings.NewReader(file + "x"), errdefs.ErrDataLoss, "checksum"},
		{"unreadable", io.MultiReader(strings.NewReader(file[:len(file)-8]), iotest.ErrReader(broken)), broken, "on fire"},
	} {
		_, _, err := read(c.file)
		if !errors.Is(err, c.class) || !strings.Contains(err.Error(), c.words) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}
