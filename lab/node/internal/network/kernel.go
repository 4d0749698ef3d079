package network

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/jsimonetti/rtnetlink/v2"
	"github.com/mdlayher/netlink"
	"github.com/siderolabs/talos/pkg/machinery/nethelpers"
	networkres "github.com/siderolabs/talos/pkg/machinery/resources/network"
	"golang.org/x/sys/unix"
)

// State is what the kernel has.
type State struct {
	Links     []rtnetlink.LinkMessage
	Addresses []networkres.AddressStatusSpec
	Routes    []networkres.RouteStatusSpec
	Rules     []networkres.RoutingRuleStatusSpec
}

// Read asks the kernel.
func Read() (State, error) {
	connection, err := rtnetlink.Dial(nil)
	if err != nil {
		return State{}, err
	}

	defer connection.Close() //nolint:errcheck

	var state State

	if state.Links, err = connection.Link.List(); err != nil {
		return State{}, fmt.Errorf("error listing links: %w", err)
	}

	addresses, err := connection.Address.List()
	if err != nil {
		return State{}, fmt.Errorf("error listing addresses: %w", err)
	}

	for _, address := range addresses {
		state.Addresses = append(state.Addresses, addressStatus(address, state.name(address.Index)))
	}

	routes, err := connection.Route.List()
	if err != nil {
		return State{}, fmt.Errorf("error listing routes: %w", err)
	}

	for _, route := range routes {
		state.Routes = append(state.Routes, routeStatus(route, state.name(route.Attributes.OutIface)))
	}

	rules, err := connection.Rule.List()
	if err != nil {
		return State{}, fmt.Errorf("error listing routing rules: %w", err)
	}

	for _, rule := range rules {
		state.Rules = append(state.Rules, ruleStatus(rule))
	}

	return state, nil
}

func (s State) name(index uint32) string {
	for _, link := range s.Links {
		if link.Index == index {
			return link.Attributes.Name
		}
	}

	return ""
}

// Connected reports whether a link is up and has a cable in it.
func Connected(link rtnetlink.LinkMessage) bool { return link.Flags&unix.IFF_LOWER_UP != 0 }

// NodeAddresses are the addresses by which others may know the machine, IPv4
// before IPv6: not those of the loopback device and not link-local ones. With
// connected only those of links that are connected.
func (s State) NodeAddresses(connected bool) []netip.Prefix {
	var found []netip.Prefix

	for _, link := range s.Links {
		if connected && !Connected(link) {
			continue
		}

		for _, address := range s.Addresses {
			ip := address.Address.Addr()
			if address.LinkIndex == link.Index && address.Scope < nethelpers.ScopeLink && !ip.IsLoopback() && !ip.IsLinkLocalUnicast() {
				found = append(found, address.Address)
			}
		}
	}

	return byFamily(found)
}

// Interface is a link as a guest agent describes it.
type Interface struct {
	Name      string
	MAC       string
	Addresses []netip.Prefix
}

// Interfaces are all links with all of their addresses.
func (s State) Interfaces() []Interface {
	list := make([]Interface, 0, len(s.Links))

	for _, link := range s.Links {
		entry := Interface{Name: link.Attributes.Name, MAC: link.Attributes.Address.String()}

		for _, address := range s.Addresses {
			if address.LinkIndex == link.Index {
				entry.Addresses = append(entry.Addresses, address.Address)
			}
		}

		list = append(list, entry)
	}

	return list
}

func addressStatus(address rtnetlink.AddressMessage, link string) networkres.AddressStatusSpec {
	return networkres.AddressStatusSpec{
		Address: prefix(address.Attributes.Address, address.PrefixLength),
		Local:   ip(address.Attributes.Local), Broadcast: ip(address.Attributes.Broadcast),
		Anycast: ip(address.Attributes.Anycast), Multicast: ip(address.Attributes.Multicast),
		LinkIndex: address.Index, LinkName: link,
		Family: nethelpers.Family(address.Family), Scope: nethelpers.Scope(address.Scope),
		Flags: nethelpers.AddressFlags(address.Attributes.Flags), Priority: address.Attributes.Priority,
	}
}

func routeStatus(route rtnetlink.RouteMessage, link string) networkres.RouteStatusSpec {
	status := networkres.RouteStatusSpec{
		Family: nethelpers.Family(route.Family), Destination: prefix(route.Attributes.Dst, route.DstLength),
		Source: ip(route.Attributes.Src), Gateway: ip(route.Attributes.Gateway),
		OutLinkIndex: route.Attributes.OutIface, OutLinkName: link,
		Table: nethelpers.RoutingTable(route.Table), Priority: route.Attributes.Priority, Scope: nethelpers.Scope(route.Scope),
		Type: nethelpers.RouteType(route.Type), Flags: nethelpers.RouteFlags(route.Flags),
		Protocol: nethelpers.RouteProtocol(route.Protocol),
	}

	if route.Attributes.Metrics != nil {
		status.MTU = route.Attributes.Metrics.MTU
	}

	return status
}

func ip(bytes net.IP) netip.Addr {
	address, _ := netip.AddrFromSlice(bytes)

	return address
}

func prefix(bytes net.IP, length uint8) netip.Prefix {
	if address := ip(bytes); address.IsValid() {
		return netip.PrefixFrom(address, int(length))
	}

	return netip.Prefix{}
}

// Watch calls changed whenever the kernel's links, addresses or routes change,
// until the context ends.
func Watch(ctx context.Context, changed func()) error {
	const groups = unix.RTMGRP_LINK | unix.RTMGRP_IPV4_IFADDR | unix.RTMGRP_IPV6_IFADDR | unix.RTMGRP_IPV4_ROUTE | unix.RTMGRP_IPV6_ROUTE

	connection, err := netlink.Dial(unix.NETLINK_ROUTE, &netlink.Config{Groups: groups})
	if err != nil {
		return err
	}

	stop := context.AfterFunc(ctx, func() { connection.Close() }) //nolint:errcheck
	defer stop()

	for {
		// how it has changed is asked for; a message that was lost is a change too
		_, err := connection.Receive()

		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil && !errors.Is(err, unix.ENOBUFS):
			return err
		}

		changed()
	}
}

const reservedPorts = "/proc/sys/net/ipv4/ip_local_reserved_ports"

// ReservePorts keeps the kernel from giving the machine's own ports to outgoing
// connections, as Talos does: one that a connection holds cannot be listened on.
func ReservePorts(ports ...int) error {
	slices.Sort(ports)

	texts := make([]string, 0, len(ports))
	for _, port := range ports {
		texts = append(texts, strconv.Itoa(port))
	}

	return os.WriteFile(reservedPorts, []byte(strings.Join(texts, ",")), 0)
}
