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

func (g *greeter) wake() {
	select {
	case g.woken <- struct{}{}:
	default:
	}
}

// greeting is when a peer is to be greeted again.
type greeting struct {
	at    time.Time
	delay time.Duration
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

// round greets those whose time has come. It returns those who have not answered yet and the time until the next of them;
// 0: there is none. The configuration itself has greeted those who are new.
func (g *greeter) round(known map[string]greeting, now time.Time) (_ map[string]greeting, wait time.Duration) {
	next := map[string]greeting{}
	for _, peer := range g.strangers() {
		one, ok := known[peer]
		if !ok {
			one = greeting{now.Add(firstGreeting + rand.N(firstGreeting/2)), firstGreeting}
		} else if !now.Before(one.at) && one.delay <= lastGreeting {
			greet(g.dev, peer)
			one.delay *= 2
			one.at = now.Add(one.delay + rand.N(one.delay/2))
		}
		next[peer] = one
		if left := max(one.at.Sub(now), time.Millisecond); one.delay <= lastGreeting && (wait == 0 || left < wait) {
			wait = left
		}
	}
	return next, wait
}

// strangers are the peers, as hex digits, that this device should greet and that never answered.
func (g *greeter) strangers() (list []string) {
	text, err := g.dev.IpcGet()
	if err != nil {
		return nil
	}
	peer := ""
	for line := range strings.Lines(text) {
		key, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), "=")
		switch {
		case key == "public_key":
			peer = value
		case key == "last_handshake_time_sec" && value == "0" && initiates(g.public, toBase64(peer)):
			list = append(list, peer)
		}
	}
	return list
}

func greet(dev *device.Device, digits string) {
	var key device.NoisePublicKey
	if key.FromHex(digits) != nil {
		return
	}
	if peer := dev.LookupPeer(key); peer != nil {
		peer.ExpireCurrentKeypairs() // there are none: it forgets when the last handshake was begun
		_ = peer.SendHandshakeInitiation(false)
	}
}
