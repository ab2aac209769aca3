package playground

import (
	"errors"
	"fmt"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// Deafen lets nothing arrive at the machine; what it sends still arrives elsewhere. Heal ends it.
func (m *Machine) Deafen() error { return m.oneWay("deaf", expr.MetaKeyOIFNAME) }

// Mute lets nothing that the machine sends arrive anywhere; what others send still arrives at it. Heal ends it.
func (m *Machine) Mute() error { return m.oneWay("mute", expr.MetaKeyIIFNAME) }

// oneWay drops in the switch every frame that has the machine's port on the given side. Frames pass by one of three hooks: from
// port to port, from a port to the switch itself (the registry), and from the switch to a port.
func (m *Machine) oneWay(word string, side expr.MetaKey) error {
	if _, err := m.cable(); err != nil {
		return err
	}
	return m.inSwitch(func(c *nftables.Conn) {
		t := c.AddTable(m.wall(word))
		hooks := []*nftables.ChainHook{nftables.ChainHookForward, nftables.ChainHookInput}
		if side == expr.MetaKeyOIFNAME {
			hooks[1] = nftables.ChainHookOutput
		}
		for i, hook := range hooks {
			chain := c.AddChain(&nftables.Chain{
				Table: t, Name: fmt.Sprintf("c%d", i), Type: nftables.ChainTypeFilter, Hooknum: hook, Priority: nftables.ChainPriorityFilter,
			})
			c.AddRule(&nftables.Rule{Table: t, Chain: chain, Exprs: []expr.Any{
				&expr.Meta{Key: side, Register: 1},
				&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: ifname(port(m.Number))},
				&expr.Verdict{Kind: expr.VerdictDrop},
			}})
		}
	})
}

// open takes the machine's walls away. One that has none is left as it is.
func (m *Machine) open() error {
	for _, word := range []string{"deaf", "mute"} {
		err := m.inSwitch(func(c *nftables.Conn) { c.DelTable(m.wall(word)) })
		if err != nil && !errors.Is(err, unix.ENOENT) {
			return err
		}
	}
	return nil
}

// walls says which way the machine is cut off: "", "deaf" or "mute", or both.
func (m *Machine) walls() (words []string, err error) {
	err = m.inSwitch(func(c *nftables.Conn) {
		tables, _ := c.ListTablesOfFamily(nftables.TableFamilyBridge)
		for _, t := range tables {
			for _, word := range []string{"deaf", "mute"} {
				if t.Name == m.wall(word).Name {
					words = append(words, word)
				}
			}
		}
	})
	return words, err
}

func (m *Machine) wall(word string) *nftables.Table {
	return &nftables.Table{Family: nftables.TableFamilyBridge, Name: word + "-" + port(m.Number)}
}

// inSwitch changes the switch's nftables in one transaction.
func (m *Machine) inSwitch(f func(*nftables.Conn)) error {
	pid := m.of.Switch().pid()
	if pid == 0 {
		return errors.New("the playground's switch is off")
	}
	ns, err := netns.GetFromPid(pid)
	if err != nil {
		return fmt.Errorf("switch: %w", err)
	}
	defer ns.Close()
	c, err := nftables.New(nftables.WithNetNSFd(int(ns)))
	if err != nil {
		return fmt.Errorf("switch: %w", err)
	}
	f(c)
	if err := c.Flush(); err != nil {
		return fmt.Errorf("machine %s: one-way partition: %w", m.Name, err)
	}
	return nil
}

// ifname is an interface's name as nftables compares it.
func ifname(name string) []byte {
	b := make([]byte, unix.IFNAMSIZ)
	copy(b, name)
	return b
}
