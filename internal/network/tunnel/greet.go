package tunnel

import (
	"math/rand/v2"
	"strings"
	"time"

	"golang.zx2c4.com/wireguard/device"
)

// initiates says which of two devices shakes hands first: when both do so at once, neither's handshake completes, and
// WireGuard tries again after five seconds only.
func initiates(own, other string) bool { return own < other }

// greeter shakes hands with new peers until they answer: the other side may not know this one yet, and WireGuard would
// wait five seconds for the next try. After lastGreeting it is left to WireGuard.
type greeter struct {
	dev    *device.Device
	public string        // of the device, base64
	woken  chan struct{} // holds one token: there may be new peers
}

// Bounds of the wait before another greeting, which doubles. The first is longer than a handshake takes: a greeting while an
// answer is on its way makes the session of that answer useless to one side.
const (
	firstGreeting = time.Second
	lastGreeting  = 2 * time.Second
)

// The other side may not use the session before it has heard a packet of it, and WireGuard sends one: where that is lost, the
// other side waits for five seconds and begins anew. So it hears some more.
const (
	reminders    = 3
	reminderTime = 200 * time.Millisecond
)

func (g *greeter) wake() {
	select {
	case g.woken <- struct{}{}:
	default:
	}
}

// greeting is what is to be done about a peer, and when.
type greeting struct {
	at       time.Time
	delay    time.Duration // to the next greeting, while it has not answered
	reminded int           // how often, since it has
}

// run greets until the device ends.
func (g *greeter) run() {
	var again <-chan time.Time
	known := map[string]greeting{}
	for {
		select {
		case <-g.woken:
		case <-again:
		case <-g.dev.Wait():
			return
		}
		var wait time.Duration
		if known, wait = g.round(known, time.Now()); wait > 0 {
			again = time.After(wait)
		} else {
			again = nil
		}
	}
}

// round greets those whose time has come, and reminds those who have answered. It returns all, and the time until the next
// of them; 0: there is nothing to be done. The configuration itself has greeted those who are new.
func (g *greeter) round(known map[string]greeting, now time.Time) (_ map[string]greeting, wait time.Duration) {
	next := map[string]greeting{}
	for peer, answered := range g.peers() {
		one, ok := known[peer]
		switch {
		case !ok:
			one = greeting{at: now.Add(firstGreeting + rand.N(firstGreeting/2)), delay: firstGreeting}
		case answered && one.reminded < reminders:
			with(g.dev, peer, (*device.Peer).SendKeepalive)
			one.reminded++
		case !answered && !now.Before(one.at) && one.delay <= lastGreeting:
			with(g.dev, peer, greet)
			one.delay *= 2
			one.at = now.Add(one.delay + rand.N(one.delay/2))
		}
		next[peer] = one
		if answered && one.reminded < reminders || !answered && one.delay <= lastGreeting {
			wait = reminderTime
		}
	}
	return next, wait
}

// peers are those, as hex digits, that this device should greet, and whether they have ever answered.
func (g *greeter) peers() map[string]bool {
	text, err := g.dev.IpcGet()
	if err != nil {
		return nil
	}
	all := map[string]bool{}
	peer := ""
	for line := range strings.Lines(text) {
		key, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), "=")
		switch {
		case key == "public_key":
			peer = value
		case key == "last_handshake_time_sec" && initiates(g.public, toBase64(peer)):
			all[peer] = value != "0"
		}
	}
	return all
}

// with does something with a peer that is there.
func with(dev *device.Device, digits string, do func(*device.Peer)) {
	var key device.NoisePublicKey
	if key.FromHex(digits) != nil {
		return
	}
	if peer := dev.LookupPeer(key); peer != nil {
		do(peer)
	}
}

func greet(peer *device.Peer) {
	peer.ExpireCurrentKeypairs() // there are none: it forgets when the last handshake was begun
	_ = peer.SendHandshakeInitiation(false)
}
