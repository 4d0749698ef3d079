package podsandbox

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"runtime"

	"github.com/jsimonetti/rtnetlink/v2"
	"github.com/jsimonetti/rtnetlink/v2/driver"
	"golang.org/x/sys/unix"
)

const (
	podLink = "eth0"
	// The link-local address at which every pod finds its node: each is alone with it on its cable.
	gateway = "169.254.1.1"

	hostBits = 32
)

// Network is a pod's own network: a network namespace, and a cable from it to
// the machine's, which knows the way to the pod's address and routes for it.
type Network struct {
	namespace *os.File
	link      string
}

// NewNetwork makes one. The pod gets the first of its addresses that is of IPv4.
func NewNetwork(uid string, addresses []netip.Addr) (*Network, error) {
	own, err := firstIPv4(addresses)
	if err != nil {
		return nil, err
	}

	namespace, err := newNamespace()
	if err != nil {
		return nil, fmt.Errorf("the pod's network namespace: %w", err)
	}

	digest := sha256.Sum256([]byte(uid))
	network := &Network{namespace: namespace, link: fmt.Sprintf("veth%x", digest[:4])}

	if err := network.connect(own); err != nil {
		network.Close()

		return nil, fmt.Errorf("the pod's network: %w", err)
	}

	return network, nil
}

func firstIPv4(addresses []netip.Addr) (netip.Addr, error) {
	for _, address := range addresses {
		if address.Is4() {
			return address, nil
		}
	}

	return netip.Addr{}, errors.New("the pod has no IPv4 address, and of programs in pods there are only those with one")
}

// newNamespace makes a network namespace. It lives as long as the file is open or a process is in it.
func newNamespace() (*os.File, error) {
	var namespace *os.File

	err := elsewhere(func() error {
		err := unix.Unshare(unix.CLONE_NEWNET)
		if err == nil {
			namespace, err = os.Open("/proc/thread-self/ns/net")
		}

		return err
	})

	return namespace, err
}

// elsewhere does something in a thread that nobody uses afterwards: it may be in another namespace by then.
func elsewhere(do func() error) error {
	done := make(chan error, 1)

	go func() {
		runtime.LockOSThread() // for good: the thread ends with this goroutine

		done <- do()
	}()

	return <-done
}

func (n *Network) connect(own netip.Addr) error {
	if err := os.WriteFile("/proc/sys/net/ipv4/ip_forward", []byte("1"), 0o600); err != nil {
		return err
	}

	machine, err := rtnetlink.Dial(nil)
	if err != nil {
		return err
	}

	defer machine.Close() //nolint:errcheck

	peer := &rtnetlink.LinkMessage{Attributes: &rtnetlink.LinkAttributes{
		Name: podLink, NetNS: rtnetlink.NetNSForFD(uint32(n.namespace.Fd())), //nolint:gosec // a descriptor is small
	}}
	if err := machine.Link.New(&rtnetlink.LinkMessage{Attributes: &rtnetlink.LinkAttributes{
		Name: n.link, Info: &rtnetlink.LinkInfo{Kind: "veth", Data: &driver.Veth{PeerInfo: peer}},
	}}); err != nil {
		return fmt.Errorf("its cable: %w", err)
	}

	outside, err := up(machine, n.link)
	if err != nil {
		return err
	}

	node := net.ParseIP(gateway).To4()
	if err := errors.Join(
		machine.Address.New(address(outside, node, unix.RT_SCOPE_LINK)), machine.Route.Add(route(outside, own.AsSlice(), nil)),
	); err != nil {
		return err
	}

	return elsewhere(func() error {
		if err := unix.Setns(int(n.namespace.Fd()), unix.CLONE_NEWNET); err != nil {
			return err
		}

		return connectPod(own.AsSlice(), node)
	})
}

// connectPod sets up the pod's end, in the pod's network.
func connectPod(own, node net.IP) error {
	pod, err := rtnetlink.Dial(nil)
	if err != nil {
		return err
	}

	defer pod.Close() //nolint:errcheck

	if _, err := up(pod, "lo"); err != nil {
		return err
	}

	inside, err := up(pod, podLink)
	if err != nil {
		return err
	}

	return errors.Join(
		pod.Address.New(address(inside, own, unix.RT_SCOPE_UNIVERSE)),
		pod.Route.Add(route(inside, node, nil)),
		pod.Route.Add(route(inside, nil, node)),
	)
}

// up brings a link up and returns its index.
func up(connection *rtnetlink.Conn, name string) (uint32, error) {
	links, err := connection.Link.List()
	if err != nil {
		return 0, err
	}

	for _, link := range links {
		if link.Attributes.Name == name {
			return link.Index, connection.Link.Set(&rtnetlink.LinkMessage{
				Family: unix.AF_UNSPEC, Index: link.Index, Flags: unix.IFF_UP, Change: unix.IFF_UP,
			})
		}
	}

	return 0, fmt.Errorf("there is no link %s", name)
}

func address(link uint32, of net.IP, scope uint8) *rtnetlink.AddressMessage {
	return &rtnetlink.AddressMessage{
		Family: unix.AF_INET, PrefixLength: hostBits, Scope: scope, Index: link,
		Attributes: &rtnetlink.AddressAttributes{Address: of, Local: of},
	}
}

// route is the way to one address, or to everything by way of one.
func route(link uint32, to, by net.IP) *rtnetlink.RouteMessage {
	message := &rtnetlink.RouteMessage{
		Family: unix.AF_INET, Table: unix.RT_TABLE_MAIN, Protocol: unix.RTPROT_STATIC, Type: unix.RTN_UNICAST,
		Scope: unix.RT_SCOPE_LINK, Attributes: rtnetlink.RouteAttributes{OutIface: link},
	}

	if to != nil {
		message.DstLength, message.Attributes.Dst = hostBits, to
	} else {
		message.Scope, message.Attributes.Gateway = unix.RT_SCOPE_UNIVERSE, by
	}

	return message
}

// Namespace is the network namespace, for processes to be started in.
func (n *Network) Namespace() *os.File { return n.namespace }

// Close takes the cable away at once, and the namespace with the last process in it.
func (n *Network) Close() {
	if connection, err := rtnetlink.Dial(nil); err == nil {
		defer connection.Close() //nolint:errcheck

		links, _ := connection.Link.List()
		for _, link := range links {
			if link.Attributes.Name == n.link {
				connection.Link.Delete(link.Index) //nolint:errcheck // it may have gone with the namespace
			}
		}
	}

	n.namespace.Close() //nolint:errcheck // it was only held
}
