package podsandbox

import (
	"errors"
	"fmt"
	"net/netip"

	"github.com/jsimonetti/rtnetlink/v2"
	"golang.org/x/sys/unix"

	"cluster-stack/lab/node/internal/kubeletapi"
)

// protocolOfPods marks the routes that are of the pod network: one that is not in use by anybody.
const protocolOfPods = 201

// loopback is the index of that link in every network namespace.
const loopback = 1

// SetRoutes makes the machine know the pods of other nodes by way of those nodes. For pods of its own that have no
// network, because they are played, it answers itself: there is nothing that listens, so that connections are refused.
func SetRoutes(ranges []kubeletapi.PodRange) error {
	connection, err := rtnetlink.Dial(nil)
	if err != nil {
		return err
	}

	defer connection.Close() //nolint:errcheck

	wanted := map[string]*rtnetlink.RouteMessage{}

	for _, one := range ranges {
		if !one.Range.Addr().Is4() {
			continue
		}

		message := &rtnetlink.RouteMessage{
			Family: unix.AF_INET, Table: unix.RT_TABLE_MAIN, Protocol: protocolOfPods, Type: unix.RTN_LOCAL,
			Scope: unix.RT_SCOPE_HOST, DstLength: uint8(one.Range.Bits()), //nolint:gosec // at most 32
			Attributes: rtnetlink.RouteAttributes{Dst: one.Range.Masked().Addr().AsSlice(), OutIface: loopback},
		}
		if one.Node.IsValid() {
			message.Type, message.Scope = unix.RTN_UNICAST, unix.RT_SCOPE_UNIVERSE
			message.Attributes.OutIface, message.Attributes.Gateway = 0, one.Node.AsSlice()
		}

		wanted[key(message)] = message
	}

	known, err := connection.Route.List()
	if err != nil {
		return fmt.Errorf("error listing routes: %w", err)
	}

	var failures []error

	for _, route := range known {
		if route.Protocol != protocolOfPods {
			continue
		}

		if _, stays := wanted[key(&route)]; stays {
			delete(wanted, key(&route))
		} else {
			failures = append(failures, connection.Route.Delete(&route))
		}
	}

	for _, route := range wanted {
		if err := connection.Route.Add(route); err != nil {
			failures = append(failures, fmt.Errorf("the way to the pods of %s: %w", key(route), err))
		}
	}

	return errors.Join(failures...)
}

func key(route *rtnetlink.RouteMessage) string {
	by, _ := netip.AddrFromSlice(route.Attributes.Gateway)
	to, _ := netip.AddrFromSlice(route.Attributes.Dst)

	return fmt.Sprintf("%s/%d by %s", to.Unmap(), route.DstLength, by.Unmap())
}
