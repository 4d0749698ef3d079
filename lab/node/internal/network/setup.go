package network

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"

	"github.com/jsimonetti/rtnetlink/v2"
	"github.com/siderolabs/talos/pkg/machinery/nethelpers"
	networkres "github.com/siderolabs/talos/pkg/machinery/resources/network"
	"golang.org/x/sys/unix"
)

// Setup sets the machine's links up. It remembers what it has set, because
// only that is taken away again when it is no longer wanted.
type Setup struct {
	addresses map[assigned]bool
	routes    map[string]networkres.RouteSpecSpec
	rules     map[string]bool
}

type assigned struct {
	link    string
	address netip.Prefix
}

// NewSetup is of a machine that has set nothing yet.
func NewSetup() *Setup {
	return &Setup{addresses: map[assigned]bool{}, routes: map[string]networkres.RouteSpecSpec{}}
}

// Apply makes the links as wanted, whatever the kernel has dropped meanwhile.
// What cannot be set does not keep the rest from being set; the error tells of
// all that.
func (s *Setup) Apply(wanted Network) error {
	connection, err := rtnetlink.Dial(nil)
	if err != nil {
		return err
	}

	defer connection.Close() //nolint:errcheck

	links, err := connection.Link.List()
	if err != nil {
		return fmt.Errorf("error listing links: %w", err)
	}

	// what belongs to no link belongs to the one without a name
	byName := map[string]rtnetlink.LinkMessage{"": {Attributes: &rtnetlink.LinkAttributes{}}}
	for _, link := range links {
		byName[link.Attributes.Name] = link
	}

	errs := []error{s.removeRoutes(connection, byName, wanted), s.removeAddresses(connection, byName, wanted)}

	// with an address the kernel drops other addresses and routes as well, so
	// that what is there is asked for only now
	addresses, err := connection.Address.List()
	if err != nil {
		return fmt.Errorf("error listing addresses: %w", err)
	}

	for _, link := range wanted.Links {
		found, ok := byName[link.Name]
		if !ok {
			errs = append(errs, fmt.Errorf("link %q does not exist", link.Name))

			continue
		}

		errs = append(errs, bringUp(connection, found, link.MTU))

		for _, address := range link.Addresses {
			errs = append(errs, s.addAddress(connection, found, addresses, address))
		}
	}

	routes, err := connection.Route.List()
	if err != nil {
		return fmt.Errorf("error listing routes: %w", err)
	}

	for _, route := range wanted.routes() {
		if found, ok := byName[route.OutLinkName]; ok {
			errs = append(errs, s.addRoute(connection, found, routes, route))
		}
	}

	errs = append(errs, s.applyRules(connection, wanted.Rules), applyAliases(connection, links, wanted.Aliases))

	return errors.Join(errs...)
}

func bringUp(connection *rtnetlink.Conn, link rtnetlink.LinkMessage, mtu uint32) error {
	if mtu != 0 && link.Attributes.MTU != mtu {
		if err := connection.Link.Set(&rtnetlink.LinkMessage{
			Type: link.Type, Index: link.Index, Attributes: &rtnetlink.LinkAttributes{MTU: mtu},
		}); err != nil {
			return fmt.Errorf("error setting MTU of %q to %d: %w", link.Attributes.Name, mtu, err)
		}
	}

	if link.Flags&unix.IFF_UP != 0 {
		return nil
	}

	if err := connection.Link.Set(&rtnetlink.LinkMessage{
		Type: link.Type, Index: link.Index, Flags: unix.IFF_UP, Change: unix.IFF_UP,
	}); err != nil {
		return fmt.Errorf("error bringing up %q: %w", link.Attributes.Name, err)
	}

	return nil
}

func (s *Setup) addAddress(
	connection *rtnetlink.Conn, link rtnetlink.LinkMessage, existing []rtnetlink.AddressMessage, address netip.Prefix,
) error {
	s.addresses[assigned{link.Attributes.Name, address}] = true

	if slices.ContainsFunc(existing, func(found rtnetlink.AddressMessage) bool {
		return found.Index == link.Index && prefix(found.Attributes.Address, found.PrefixLength) == address
	}) {
		return nil
	}

	if err := connection.Address.New(addressMessage(link.Index, address)); err != nil && !errors.Is(err, os.ErrExist) {
		return fmt.Errorf("error adding address %s to %q: %w", address, link.Attributes.Name, err)
	}

	return nil
}

func (s *Setup) removeAddresses(connection *rtnetlink.Conn, links map[string]rtnetlink.LinkMessage, wanted Network) error {
	var errs []error

	for key := range s.addresses {
		if slices.ContainsFunc(wanted.Links, func(link Link) bool {
			return link.Name == key.link && slices.Contains(link.Addresses, key.address)
		}) {
			continue
		}

		if link, ok := links[key.link]; ok {
			err := connection.Address.Delete(addressMessage(link.Index, key.address))
			if err != nil && !errors.Is(err, unix.EADDRNOTAVAIL) {
				errs = append(errs, fmt.Errorf("error removing address %s: %w", key.address, err))

				continue
			}
		}

		delete(s.addresses, key)
	}

	return errors.Join(errs...)
}

func addressMessage(link uint32, address netip.Prefix) *rtnetlink.AddressMessage {
	family, flags := uint8(unix.AF_INET), uint32(nethelpers.AddressPermanent)
	if address.Addr().Is6() {
		family = unix.AF_INET6
	}

	return &rtnetlink.AddressMessage{
		Family: family, PrefixLength: uint8(address.Bits()), Flags: uint8(flags), Index: link, //nolint:gosec // at most 128
		Attributes: &rtnetlink.AddressAttributes{
			Address: address.Addr().AsSlice(), Local: address.Addr().AsSlice(), Broadcast: broadcast(address), Flags: flags,
		},
	}
}

// broadcast is the last address of an IPv4 network that has more than two.
func broadcast(address netip.Prefix) net.IP {
	if !address.Addr().Is4() || address.Bits() > 30 {
		return nil
	}

	bytes := address.Addr().As4()
	last := binary.BigEndian.Uint32(bytes[:]) | (1<<(32-address.Bits()) - 1)

	return binary.BigEndian.AppendUint32(nil, last)
}

func (s *Setup) addRoute(
	connection *rtnetlink.Conn, link rtnetlink.LinkMessage, existing []rtnetlink.RouteMessage, route networkres.RouteSpecSpec,
) error {
	id := routeID(route)

	for _, found := range existing {
		if found.Attributes.OutIface == link.Index && StatusID(routeStatus(found, link.Attributes.Name)) == id {
			s.routes[id] = route

			return nil
		}
	}

	if err := connection.Route.Add(routeMessage(link.Index, route)); err != nil {
		return fmt.Errorf("error adding route %s: %w", id, err)
	}

	s.routes[id] = route

	return nil
}

func (s *Setup) removeRoutes(connection *rtnetlink.Conn, links map[string]rtnetlink.LinkMessage, wanted Network) error {
	var errs []error

	for id, route := range s.routes {
		if slices.Contains(wanted.routes(), route) {
			continue
		}

		if link, ok := links[route.OutLinkName]; ok {
			err := connection.Route.Delete(routeMessage(link.Index, route))
			if err != nil && !errors.Is(err, unix.ESRCH) {
				errs = append(errs, fmt.Errorf("error removing route %s: %w", id, err))

				continue
			}
		}

		delete(s.routes, id)
	}

	return errors.Join(errs...)
}

func routeMessage(link uint32, route networkres.RouteSpecSpec) *rtnetlink.RouteMessage {
	message := &rtnetlink.RouteMessage{
		Family: uint8(route.Family), DstLength: uint8(max(route.Destination.Bits(), 0)), //nolint:gosec // at most 128
		Protocol: uint8(route.Protocol), Scope: uint8(route.Scope), Type: uint8(route.Type), Flags: uint32(route.Flags),
		Attributes: rtnetlink.RouteAttributes{
			Dst: route.Destination.Addr().AsSlice(), Src: route.Source.AsSlice(), Gateway: route.Gateway.AsSlice(),
			OutIface: link, Priority: route.Priority, Table: uint32(route.Table),
		},
	}

	if route.MTU != 0 {
		message.Attributes.Metrics = &rtnetlink.RouteMetrics{MTU: route.MTU}
	}

	return message
}
