// Package network works out which addresses a machine has (from its
// configuration, its platform and DHCP) and puts them on the loopback device
// of the lab's network, where an address that nobody owns is unreachable.
// Routes, bonds, VLANs and virtual addresses are not simulated.
package network

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/siderolabs/talos/pkg/machinery/config/config"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
	"google.golang.org/grpc"

	"cluster-stack/lab/node/internal/hardware"
)

// Link is one NIC with what is configured on it.
type Link struct {
	Name      string
	MAC       string
	MTU       uint32
	Addresses []netip.Prefix
	Gateway   netip.Addr
	Gateway6  netip.Addr
}

// Network is the resolved network of a machine.
type Network struct {
	Links       []Link
	Nameservers []netip.Addr
}

// Addresses are all addresses, IPv4 before IPv6, links in order.
func (n Network) Addresses() []netip.Prefix {
	var all, all6 []netip.Prefix

	for _, link := range n.Links {
		for _, address := range link.Addresses {
			if address.Addr().Is6() {
				all6 = append(all6, address)
			} else {
				all = append(all, address)
			}
		}
	}

	return append(all, all6...)
}

// IPs are all addresses without their prefix lengths.
func (n Network) IPs() []netip.Addr {
	ips := make([]netip.Addr, 0, len(n.Links))

	for _, address := range n.Addresses() {
		ips = append(ips, address.Addr())
	}

	return ips
}

// Resolve works out the network. A link that the configuration names has what
// the configuration says; else what the cloud-init drive says (nocloud only);
// else DHCP.
func Resolve(machine *hardware.Machine, platform string, settings config.Config) Network {
	resolver := resolver{machine: machine, platform: platform, settings: settings, leases: machine.Leases()}
	network := Network{Links: make([]Link, 0, len(machine.NICs))}

	for _, nic := range machine.NICs {
		network.Links = append(network.Links, resolver.link(nic, &network.Nameservers))
	}

	if settings != nil && settings.NetworkResolverConfig() != nil {
		if configured := settings.NetworkResolverConfig().Resolvers(); len(configured) > 0 {
			network.Nameservers = configured
		}
	}

	return network
}

type resolver struct {
	machine  *hardware.Machine
	platform string
	settings config.Config
	leases   map[string]*hardware.DHCP
}

func (r resolver) link(nic hardware.NIC, nameservers *[]netip.Addr) Link {
	link := Link{Name: nic.Name, MAC: nic.MAC, MTU: nic.MTU}
	dhcp, configured := r.configured(nic, &link)

	if r.platform == "nocloud" && r.machine.CloudInit != nil {
		for _, drive := range r.machine.CloudInit.NICs {
			if !strings.EqualFold(drive.MAC, nic.MAC) {
				continue
			}

			configured = true
			dhcp = dhcp || drive.Address == askForDHCP
			link.addCloudInit(drive)
		}

		*nameservers = append(*nameservers, r.machine.CloudInit.Nameservers...)
	}

	if !configured && (r.settings == nil || r.settings.RunDefaultDHCPOperators()) {
		dhcp = true
	}

	lease := r.leases[strings.ToUpper(nic.MAC)]
	if !dhcp || lease == nil {
		return link
	}

	link.add(lease.Address)

	if !link.Gateway.IsValid() {
		link.Gateway = lease.Gateway
	}

	*nameservers = append(*nameservers, lease.Nameservers...)

	return link
}

// askForDHCP stands for an address on the cloud-init drive.
const askForDHCP = "dhcp"

func (l *Link) addCloudInit(drive hardware.CloudInitNIC) {
	for _, text := range []string{drive.Address, drive.Address6} {
		if address, err := netip.ParsePrefix(text); err == nil {
			l.add(address)
		}
	}

	if gateway, err := netip.ParseAddr(drive.Gateway); err == nil && !l.Gateway.IsValid() {
		l.Gateway = gateway
	}

	if gateway, err := netip.ParseAddr(drive.Gateway6); err == nil && !l.Gateway6.IsValid() {
		l.Gateway6 = gateway
	}
}

func (l *Link) add(address netip.Prefix) {
	if address.IsValid() && !slices.Contains(l.Addresses, address) {
		l.Addresses = append(l.Addresses, address)
	}
}

// route makes a gateway the default one of its kind.
func (l *Link) route(gateway netip.Addr) {
	if gateway.Is6() {
		l.Gateway6 = gateway
	} else {
		l.Gateway = gateway
	}
}

// configured adds what the machine configuration says about the NIC and tells
// whether it asks for DHCP and whether it says anything at all.
func (r resolver) configured(nic hardware.NIC, link *Link) (dhcp, configured bool) {
	if r.settings == nil {
		return false, false
	}

	if machine := r.settings.Machine(); machine != nil && machine.Network() != nil {
		for _, device := range machine.Network().Devices() {
			if device.Ignore() || !matches(device, nic) {
				continue
			}

			configured = true
			dhcp = dhcp || device.DHCP()

			if mtu := device.MTU(); mtu > 0 {
				link.MTU = uint32(mtu) //nolint:gosec // validated
			}

			for _, text := range device.Addresses() {
				link.add(parseAddress(text))
			}

			for _, route := range device.Routes() {
				if gateway, err := netip.ParseAddr(route.Gateway()); err == nil && isDefault(route.Network()) {
					link.route(gateway)
				}
			}
		}
	}

	for _, document := range r.settings.NetworkCommonLinkConfigs() {
		if document.Name() != nic.Name {
			continue
		}

		configured = true

		if mtu, set := document.MTU().Get(); set {
			link.MTU = mtu
		}

		for _, address := range document.Addresses() {
			link.add(address.Address())
		}

		for _, route := range document.Routes() {
			if gateway, ok := route.Gateway().Get(); ok {
				if _, specific := route.Destination().Get(); !specific {
					link.route(gateway)
				}
			}
		}
	}

	for _, document := range r.settings.NetworkDHCPv4Configs() {
		if document.Name() == nic.Name {
			dhcp, configured = true, true
		}
	}

	return dhcp, configured
}

func matches(device config.Device, nic hardware.NIC) bool {
	if device.Interface() != "" {
		return device.Interface() == nic.Name
	}

	selector := device.Selector()
	if selector == nil {
		return false
	}

	if selector.Physical() != nil && !*selector.Physical() {
		return false
	}

	for _, pattern := range []string{selector.HardwareAddress(), selector.PermanentAddress()} {
		if pattern == "" {
			continue
		}

		if ok, err := path.Match(strings.ToLower(pattern), strings.ToLower(nic.MAC)); err != nil || !ok {
			return false
		}
	}

	// the lab's NICs are virtio cards without a PCI bus of their own
	if driver := selector.KernelDriver(); driver != "" && driver != Driver {
		return false
	}

	return selector.Bus() == "" && selector.PCIID() == ""
}

// Driver is the kernel driver of the lab's NICs.
const Driver = "virtio_net"

func parseAddress(text string) netip.Prefix {
	if address, err := netip.ParsePrefix(text); err == nil {
		return address
	}

	if address, err := netip.ParseAddr(text); err == nil {
		return netip.PrefixFrom(address, address.BitLen())
	}

	return netip.Prefix{}
}

func isDefault(network string) bool {
	if network == "" {
		return true
	}

	prefix, err := netip.ParsePrefix(network)

	return err == nil && prefix.Bits() == 0
}

const loopback = "lo"

// Assign makes the loopback device carry the wanted addresses instead of the
// current ones, and returns what is now assigned.
func Assign(current, wanted []netip.Addr) ([]netip.Addr, error) {
	if slices.Equal(current, wanted) {
		return current, nil
	}

	link, err := netlink.LinkByName(loopback)
	if err != nil {
		return current, fmt.Errorf("network device %s: %w", loopback, err)
	}

	var assigned []netip.Addr

	for _, address := range current {
		if slices.Contains(wanted, address) {
			assigned = append(assigned, address)

			continue
		}

		if err := netlink.AddrDel(link, host(address)); err != nil && !errors.Is(err, unix.EADDRNOTAVAIL) {
			return current, fmt.Errorf("address %s: %w", address, err)
		}
	}

	for _, address := range wanted {
		if slices.Contains(assigned, address) {
			continue
		}

		// a killed predecessor leaves its addresses behind, and an address of
		// 127/8 is on the device anyway
		if err := netlink.AddrReplace(link, host(address)); err != nil {
			return assigned, fmt.Errorf("address %s: %w", address, err)
		}

		assigned = append(assigned, address)
	}

	return assigned, nil
}

func host(address netip.Addr) *netlink.Addr {
	parsed, _ := netlink.ParseAddr(netip.PrefixFrom(address, address.BitLen()).String()) //nolint:errcheck // always well formed

	return parsed
}

// Poll is how often the leases are read again.
const Poll = time.Second

const dialTimeout = 10 * time.Second

// Dialer dials from the machine's own address. All machines share one loopback
// device, on which a connection would otherwise come from the address that it
// goes to; servers look at where it comes from (etcd's peers even check it
// against the certificate).
type Dialer struct {
	// Source is the machine's address that reaches a target, which may be the
	// zero address when it is not known yet; the zero address leaves the choice
	// to the kernel.
	Source func(target netip.Addr) netip.Addr
}

// Dial dials a TCP address.
func (d Dialer) Dial(ctx context.Context, _, address string) (net.Conn, error) {
	dialer := &net.Dialer{Timeout: dialTimeout}

	var target netip.Addr

	if parsed, err := netip.ParseAddrPort(address); err == nil {
		target = parsed.Addr().Unmap()
	}

	if source := d.Source(target); source.IsValid() {
		dialer.LocalAddr = net.TCPAddrFromAddrPort(netip.AddrPortFrom(source, 0))
	}

	return dialer.DialContext(ctx, "tcp", address)
}

// GRPC is the dialer as gRPC clients take it.
func (d Dialer) GRPC() grpc.DialOption {
	return grpc.WithContextDialer(func(ctx context.Context, address string) (net.Conn, error) { return d.Dial(ctx, "tcp", address) })
}

const reservedPorts = "/proc/sys/net/ipv4/ip_local_reserved_ports"

// ReservePorts keeps the kernel from giving the machine's own ports to outgoing
// connections, as Talos does: one that a connection holds cannot be listened on.
func ReservePorts(ports ...int) error {
	current, err := os.ReadFile(reservedPorts)
	if err != nil {
		return err
	}

	list := strings.TrimSpace(string(current))

	for _, port := range ports {
		if list != "" {
			list += ","
		}

		list += strconv.Itoa(port)
	}

	// the kernel sorts the list and merges what is in it twice
	return os.WriteFile(reservedPorts, []byte(list), 0)
}
