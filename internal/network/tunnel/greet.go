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

// Bounds of the wait before another greeting, which doubles.
const firstGreeting, lastGreeting = 50 * time.Millisecond, 3 * time.Second

func (g *greeter) wake() {
	select {
	case g.woken <- struct{}{}:
	default:
	}
}

// run greets until the device ends.
func (g *greeter) run() {
	var again <-chan time.Time
	delay := firstGreeting
	for {
		select {
		case <-g.woken:
			delay = firstGreeting
		case <-again:
		case <-g.dev.Wait():
			return
		}
		again = nil
		if strangers := g.strangers(); len(strangers) > 0 && delay <= lastGreeting {
			if delay > firstGreeting { // before that the configuration itself has greeted
				greet(g.dev, strangers)
			}
			again = time.After(delay + rand.N(delay/2))
			delay *= 2
		}
	}
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

func greet(dev *device.Device, peers []string) {
	for _, digits := range peers {
		var key device.NoisePublicKey
		if key.FromHex(digits) != nil {
			continue
		}
		if peer := dev.LookupPeer(key); peer != nil {
			peer.ExpireCurrentKeypairs() // there are none: it forgets when the last handshake was begun
			_ = peer.SendHandshakeInitiation(false)
		}
	}
}
