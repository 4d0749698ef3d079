// Package network works out which network a machine has (from its
// configuration, its platform and DHCP), sets its links up accordingly, and
// reads from the kernel what they have. Bonds, bridges and VLANs are not
// simulated; which machine has a virtual address is decided elsewhere.
package network

import (
	"cmp"
	"net/netip"
	"path"
	"slices"
	"strings"

	"github.com/siderolabs/talos/pkg/machinery/config/config"
	"github.com/siderolabs/talos/pkg/machinery/nethelpers"
	networkres "github.com/siderolabs/talos/pkg/machinery/resources/network"

	"cluster-stack/lab/node/internal/hardware"
)

// Link is one NIC with what is configured on it.
type Link struct {
	Name      string
	MAC       string
	MTU       uint32
	Addresses []netip.Prefix
	Routes    []networkres.RouteSpecSpec
	// Virtual are the addresses that the control planes have between them, here or on another one.
	Virtual []netip.Addr
}

// Network is the resolved network of a machine.
type Network struct {
	Links       []Link
	Nameservers []netip.Addr
	Aliases     []Alias
	// Blackholes are routes that belong to no card.
	Blackholes []networkres.RouteSpecSpec
	Rules      []networkres.RoutingRuleSpecSpec
}

// Addresses are all addresses, IPv4 before IPv6, links in order.
func (n Network) Addresses() []netip.Prefix {
	var all []netip.Prefix

	for _, link := range n.Links {
		all = append(all, link.Addresses...)
	}

	return byFamily(all)
}

// routes are those of the links and those of none.
func (n Network) routes() []networkres.RouteSpecSpec {
	all := slices.Clone(n.Blackholes)

	for _, link := range n.Links {
		all = append(all, link.Routes...)
	}

	return all
}

// Virtual are the links of the virtual addresses.
func (n Network) Virtual() map[netip.Addr]string {
	links := map[netip.Addr]string{}

	for _, link := range n.Links {
		for _, address := range link.Virtual {
			links[address] = link.Name
		}
	}

	return links
}

// byFamily puts IPv4 before IPv6 and leaves the order otherwise.
func byFamily(addresses []netip.Prefix) []netip.Prefix {
	slices.SortStableFunc(addresses, func(a, b netip.Prefix) int {
		return cmp.Compare(a.Addr().BitLen(), b.Addr().BitLen())
	})

	return addresses
}

// Resolve works out the network. A link that the configuration names has what
// the configuration says; else what the cloud-init drive says (nocloud only);
// else DHCP, of which leases are the current ones by MAC.
func Resolve(machine *hardware.Machine, platform string, settings config.Config, leases map[string]*hardware.DHCP) Network {
	resolver := resolver{machine: machine, platform: platform, settings: settings, leases: leases}
	network := Network{Links: make([]Link, 0, len(machine.NICs))}

	for _, nic := range machine.NICs {
		network.Links = append(network.Links, resolver.link(nic, &network.Nameservers))
	}

	if settings != nil {
		network.Aliases = aliases(settings)
		network.Blackholes = blackholes(settings)
		network.Rules = rules(settings)
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

	if lease := r.leases[strings.ToUpper(nic.MAC)]; dhcp && lease != nil {
		link.addLease(lease)

		*nameservers = append(*nameservers, lease.Nameservers...)
	}

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

	if gateway, err := netip.ParseAddr(drive.Gateway); err == nil {
		l.route(networkres.RouteSpecSpec{
			Gateway: gateway, Priority: networkres.DefaultRouteMetric, Protocol: nethelpers.ProtocolStatic,
		})
	}

	if gateway, err := netip.ParseAddr(drive.Gateway6); err == nil {
		l.route(networkres.RouteSpecSpec{
			Gateway: gateway, Priority: 2 * networkres.DefaultRouteMetric, Protocol: nethelpers.ProtocolStatic,
		})
	}
}

func (l *Link) addLease(lease *hardware.DHCP) {
	l.add(lease.Address)

	if !lease.Gateway.IsValid() {
		return
	}

	source := lease.Address.Addr()

	if !lease.Address.Masked().Contains(lease.Gateway) {
		l.route(networkres.RouteSpecSpec{
			Destination: netip.PrefixFrom(lease.Gateway, lease.Gateway.BitLen()), Source: source,
			Priority: networkres.DefaultRouteMetric, Protocol: nethelpers.ProtocolBoot,
		})
	}

	l.route(networkres.RouteSpecSpec{
		Gateway: lease.Gateway, Source: source, Priority: networkres.DefaultRouteMetric, Protocol: nethelpers.ProtocolBoot,
	})
}

func (l *Link) add(address netip.Prefix) {
	if address.IsValid() && !slices.Contains(l.Addresses, address) {
		l.Addresses = append(l.Addresses, address)
	}
}

// route adds a route over the link, with all that follows from where it goes.
// The same one over again, from another source, stays what it was.
func (l *Link) route(route networkres.RouteSpecSpec) {
	family := route.Normalize()

	switch {
	case route.Gateway.Is6() || route.Destination.Addr().Is6():
		family = nethelpers.FamilyInet6
	case family == 0:
		family = nethelpers.FamilyInet4
	}

	route.Family, route.OutLinkName = family, l.Name
	route.Table = cmp.Or(route.Table, nethelpers.TableMain)
	route.Type = nethelpers.TypeUnicast

	if route.Destination.Addr().IsMulticast() {
		route.Type = nethelpers.TypeMulticast
	}

	if !slices.ContainsFunc(l.Routes, func(other networkres.RouteSpecSpec) bool { return routeID(other) == routeID(route) }) {
		l.Routes = append(l.Routes, route)
	}
}

func routeID(route networkres.RouteSpecSpec) string {
	return networkres.RouteID(route.Table, route.Family, route.Destination, route.Gateway, route.Priority, route.OutLinkName)
}

// StatusID is the id of the resource of a route that the kernel has.
func StatusID(route networkres.RouteStatusSpec) string {
	return networkres.RouteID(route.Table, route.Family, route.Destination, route.Gateway, route.Priority, route.OutLinkName)
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
			link.addDevice(device)

			if virtual := device.VIPConfig(); virtual != nil {
				link.addVirtual(parseAddress(virtual.IP()).Addr())
			}
		}
	}

	for _, document := range r.settings.NetworkCommonLinkConfigs() {
		if document.Name() == nic.Name {
			configured = true
			link.addDocument(document)
		}
	}

	for _, document := range r.settings.NetworkDHCPv4Configs() {
		if document.Name() == nic.Name {
			dhcp, configured = true, true
		}
	}

	for _, document := range r.settings.NetworkVirtualIPConfigs() {
		if document.Link() == nic.Name {
			link.addVirtual(document.VIP())
		}
	}

	return dhcp, configured
}

func (l *Link) addVirtual(address netip.Addr) {
	if address.IsValid() && !slices.Contains(l.Virtual, address) {
		l.Virtual = append(l.Virtual, address)
	}
}

func (l *Link) addDevice(device config.Device) {
	if mtu := device.MTU(); mtu > 0 {
		l.MTU = uint32(mtu) //nolint:gosec // validated
	}

	for _, text := range device.Addresses() {
		l.add(parseAddress(text))
	}

	for _, route := range device.Routes() {
		spec := networkres.RouteSpecSpec{
			Priority: cmp.Or(route.Metric(), networkres.DefaultRouteMetric), MTU: route.MTU(), Protocol: nethelpers.ProtocolStatic,
		}

		// validated: what does not parse is not there
		spec.Destination, _ = netip.ParsePrefix(route.Network()) //nolint:errcheck
		spec.Gateway, _ = netip.ParseAddr(route.Gateway())       //nolint:errcheck
		spec.Source, _ = netip.ParseAddr(route.Source())         //nolint:errcheck

		l.route(spec)
	}
}

func (l *Link) addDocument(document config.NetworkCommonLinkConfig) {
	if mtu, set := document.MTU().Get(); set {
		l.MTU = mtu
	}

	for _, address := range document.Addresses() {
		l.add(address.Address())
	}

	for _, route := range document.Routes() {
		l.route(networkres.RouteSpecSpec{
			Destination: route.Destination().ValueOrZero(), Gateway: route.Gateway().ValueOrZero(),
			Source: route.Source().ValueOrZero(), Priority: route.Metric().ValueOr(networkres.DefaultRouteMetric),
			MTU: route.MTU().ValueOrZero(), Table: route.Table().ValueOr(nethelpers.TableMain),
			Protocol: nethelpers.ProtocolStatic,
		})
	}
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
