package playground

import (
	"context"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"time"
)

// TestOneWay: each direction alone, seen by datagrams, which need no answer.
func TestOneWay(t *testing.T) {
	p := playground(t)
	a, b := machine(t, p, 1), machine(t, p, 2)
	for _, c := range []struct {
		name      string
		cut       func(*Machine) error
		into, out bool // whether a datagram gets into a, and out of it
		cable     string
	}{
		{"in one piece", (*Machine).Heal, true, true, "in"},
		{"deaf", (*Machine).Deafen, false, true, "deaf"},
		{"healed", (*Machine).Heal, true, true, "in"},
		{"mute", (*Machine).Mute, true, false, "mute"},
	} {
		if err := c.cut(a); err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
		if got := a.Cable(); got != c.cable {
			t.Errorf("%s: cable is %q", c.name, got)
		}
		for _, to := range []*Machine{b, p.Switch()} { // by the bridge, and to the bridge's own address
			if got := frame(t, to, a); got != c.into {
				t.Errorf("%s: %s reaches it: %v", c.name, to.Name, got)
			}
			if got := frame(t, a, to); got != c.out {
				t.Errorf("%s: it reaches %s: %v", c.name, to.Name, got)
			}
		}
	}
	if err := a.Off(); err != nil {
		t.Fatal(err)
	}
	if err := a.Boot(); err != nil {
		t.Fatal(err)
	}
	if got := a.Cable(); got != "in" {
		t.Errorf("after a power cut the cable is %q", got)
	}
}

// frame says whether a frame from one machine reaches the other, by the counter of what its interface has received. Neighbours
// are told of before, so that no question has to be answered.
func frame(t *testing.T, from, to *Machine) bool {
	t.Helper()
	name := func(m *Machine) string {
		if m.Number == switchHost {
			return bridge
		}
		return cable
	}
	_, mac := output(t, to, "cat", "/sys/class/net/"+name(to)+"/address")
	output(t, from, "ip", "neigh", "replace", to.Address.String(), "lladdr", mac, "dev", name(from), "nud", "permanent")
	l, err := to.listenPacket(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	c, err := from.Dial(t.Context(), "udp", l.LocalAddr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	if err := l.SetReadDeadline(time.Now().Add(200 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	_, _, err = l.ReadFrom(make([]byte, 1))
	return err == nil
}

func (m *Machine) listenPacket(ctx context.Context) (net.PacketConn, error) {
	var l net.PacketConn
	err := m.within(func() (err error) {
		l, err = new(net.ListenConfig).ListenPacket(ctx, "udp", m.Address.String()+":0")
		return err
	})
	return l, err
}

func TestPauseAndResume(t *testing.T) {
	p := playground(t)
	m := machine(t, p, 1)
	ticking, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer ticking.Close()
	if _, err := m.Spawn(t.Context(), Command{Args: []string{"sh", "-c", "while :; do echo x; sleep 0.02; done"}, Stdout: w}); err != nil {
		t.Fatal(err)
	}
	w.Close()
	read := func() error {
		if err := ticking.SetReadDeadline(time.Now().Add(300 * time.Millisecond)); err != nil {
			t.Fatal(err)
		}
		_, err := ticking.Read(make([]byte, 1))
		return err
	}
	if err := read(); err != nil {
		t.Fatal(err)
	}
	if err := m.Pause(); err != nil {
		t.Fatal(err)
	}
	if !m.Paused() {
		t.Error("it does not say that it is paused")
	}
	err = nil
	for drained := time.Now().Add(5 * time.Second); err == nil && time.Now().Before(drained); { // what was in the pipe already
		err = read()
	}
	if !os.IsTimeout(err) {
		t.Error(err)
	}
	if _, err := m.Run(t.Context(), Command{Args: []string{"true"}}); err == nil || !strings.Contains(err.Error(), "paused") {
		t.Errorf("a command on a paused machine: %v", err)
	}
	if err := m.Resume(); err != nil {
		t.Fatal(err)
	}
	if err := read(); err != nil || m.Paused() {
		t.Errorf("after it goes on: %v, paused %v", err, m.Paused())
	}
	if err := m.Pause(); err != nil { // and a paused one can lose its power
		t.Fatal(err)
	}
}

func TestDiskOfItsOwn(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Fatal("this test makes namespaces: run it as root")
	}
	dir, err := os.MkdirTemp("/tmp", "pg")
	if err != nil {
		t.Fatal(err)
	}
	p, err := New(Config{Dir: dir, Tied: true, Disk: 64 << 20})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Remove(); err != nil {
			t.Error(err)
		}
	})
	m := machine(t, p, 1)
	data := m.dataDir()
	write := func() (int, string) {
		return output(t, m, "dd", "if=/dev/zero", "of="+data+"/file", "bs=64k", "count=4", "conv=fsync")
	}
	if code, text := write(); code != 0 {
		t.Fatal(text)
	}
	if err := m.Fill(); err != nil {
		t.Fatal(err)
	}
	if code, text := output(t, m, "dd", "if=/dev/zero", "of="+data+"/more", "bs=64k", "count=1"); code == 0 || !strings.Contains(text, "No space left") {
		t.Errorf("write on a full disk: %d %s", code, text)
	}
	if err := m.Empty(); err != nil {
		t.Fatal(err)
	}
	if err := m.Slow(4); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	for range 8 {
		if code, text := write(); code != 0 {
			t.Fatal(text)
		}
	}
	if took := time.Since(began); took < time.Second {
		t.Errorf("8 synchronous writes at 4 a second took %v", took)
	}
	if err := m.Slow(0); err != nil {
		t.Fatal(err)
	}
	if err := m.Off(); err != nil {
		t.Fatal(err)
	}
	if err := m.Boot(); err != nil {
		t.Fatal(err)
	}
	if code, text := output(t, m, "stat", "-c", "%s", data+"/file"); code != 0 || text != "262144" {
		t.Errorf("after a power cut: %d %s", code, text)
	}
}

func TestForward(t *testing.T) {
	p := playground(t)
	for n := range 2 {
		m := machine(t, p, n+1)
		ready, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		defer ready.Close()
		if _, err := m.Spawn(t.Context(), Command{Args: []string{p.Shoal, "listen"}, Stdout: w}); err != nil {
			t.Fatal(err)
		}
		w.Close()
		if _, err := ready.Read(make([]byte, 9)); err != nil {
			t.Fatal(err)
		}
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	over := make(chan error, 1)
	go func() { over <- p.Forward(t.Context(), l, 7000) }()
	ask := func() string {
		c, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		b, _ := io.ReadAll(c)
		return string(b)
	}
	if got := ask(); got != "hello" {
		t.Errorf("got %q", got)
	}
	if err := p.Machines()[0].Cut(); err != nil {
		t.Fatal(err)
	}
	for range 2 { // whichever's turn it is
		if got := ask(); got != "hello" {
			t.Errorf("with one machine cut off: %q", got)
		}
	}
	if err := p.Client().Off(); err != nil {
		t.Fatal(err)
	}
	if err := <-over; err != nil {
		t.Errorf("after the end of the playground: %v", err)
	}
}

func TestParseForward(t *testing.T) {
	for word, want := range map[string][2]int{"8080": {8080, 8080}, "80:8080": {80, 8080}, "": {}, "x": {}, "0": {}, "80:": {}, "70000": {}} {
		port, inner, err := ParseForward(word)
		if bad := want == [2]int{}; (err != nil) != bad || !bad && (port != want[0] || inner != want[1]) {
			t.Errorf("%q: %d, %d, %v", word, port, inner, err)
		}
	}
}
