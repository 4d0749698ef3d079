package network

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"

	"github.com/jsimonetti/rtnetlink/v2"
	"github.com/siderolabs/talos/pkg/machinery/config/config"
	"github.com/siderolabs/talos/pkg/machinery/nethelpers"
	networkres "github.com/siderolabs/talos/pkg/machinery/resources/network"
	"golang.org/x/sys/unix"
	"k8s.io/utils/ptr"
)

// blackholes are the routes on which the machine throws packets away. Those of
// IPv6 the kernel keeps at the loopback device, those of IPv4 at no link.
func blackholes(settings config.Config) []networkres.RouteSpecSpec {
	var found []networkres.RouteSpecSpec

	for _, document := range settings.NetworkBlackholeRouteConfigs() {
		destination, err := netip.ParsePrefix(document.Name())
		if err != nil { // validated: what does not parse is not there
			continue
		}

		route := networkres.RouteSpecSpec{
			Family: nethelpers.FamilyInet4, Destination: destination, Table: nethelpers.TableMain, Type: nethelpers.TypeBlackhole,
			Protocol: nethelpers.ProtocolStatic, Priority: document.Metric().ValueOr(networkres.DefaultRouteMetric),
		}
		if destination.Addr().Is6() {
			route.Family, route.OutLinkName = nethelpers.FamilyInet6, "lo"
		}

		found = append(found, route)
	}

	return found
}

// rules are the routing rules: which packets look into which routing table. A
// rule that names no address is one of each family.
func rules(settings config.Config) []networkres.RoutingRuleSpecSpec {
	var found []networkres.RoutingRuleSpecSpec

	for _, document := range settings.NetworkRoutingRuleConfigs() {
		rule := networkres.RoutingRuleSpecSpec{
			Src: document.Src().ValueOrZero(), Dst: document.Dst().ValueOrZero(), Table: document.Table(),
			Priority: document.Priority(), Action: document.Action(), IIFName: document.IIFName(), OIFName: document.OIFName(),
			FwMark: document.FwMark(), FwMask: document.FwMask(), ConfigLayer: networkres.ConfigMachineConfiguration,
		}
		if rule.Action == nethelpers.RoutingRuleActionUnspec {
			rule.Action = nethelpers.RoutingRuleActionUnicast
		}

		for _, family := range ruleFamilies(rule) {
			rule.Family = family
			found = append(found, rule)
		}
	}

	return found
}

func ruleFamilies(rule networkres.RoutingRuleSpecSpec) []nethelpers.Family {
	switch {
	case rule.Src.Addr().Is6() || rule.Dst.Addr().Is6():
		return []nethelpers.Family{nethelpers.FamilyInet6}
	case rule.Src.IsValid() || rule.Dst.IsValid():
		return []nethelpers.Family{nethelpers.FamilyInet4}
	default:
		return []nethelpers.Family{nethelpers.FamilyInet6, nethelpers.FamilyInet4}
	}
}

// applyRules takes away what was set and is no longer wanted, and sets what the
// kernel lacks. A rule is known by its family and its priority.
func (s *Setup) applyRules(connection *rtnetlink.Conn, wanted []networkres.RoutingRuleSpecSpec) error {
	existing, err := connection.Rule.List()
	if err != nil {
		return fmt.Errorf("error listing routing rules: %w", err)
	}

	set := map[string]bool{}
	present := map[string]bool{}

	var errs []error

	for _, rule := range wanted {
		set[networkres.RoutingRuleID(rule.Family, rule.Priority)] = true
	}

	for _, message := range existing {
		status := ruleStatus(message)
		id := networkres.RoutingRuleID(status.Family, status.Priority)

		if set[id] && slices.ContainsFunc(wanted, func(rule networkres.RoutingRuleSpecSpec) bool { return asStatus(rule) == status }) {
			present[id] = true

			continue
		}

		if !set[id] && !s.rules[id] { // the kernel's own
			continue
		}

		if err := connection.Rule.Delete(&message); err != nil && !errors.Is(err, os.ErrNotExist) {
			errs = append(errs, fmt.Errorf("error removing routing rule %s: %w", id, err))
			set[id] = true // what is left behind is to be taken away the next time
		}
	}

	for _, rule := range wanted {
		id := networkres.RoutingRuleID(rule.Family, rule.Priority)
		if present[id] {
			continue
		}

		if err := connection.Rule.Add(ruleMessage(rule)); err != nil && !errors.Is(err, os.ErrExist) {
			errs = append(errs, fmt.Errorf("error adding routing rule %s: %w", id, err))
		}
	}

	s.rules = set

	return errors.Join(errs...)
}

func ruleMessage(rule networkres.RoutingRuleSpecSpec) *rtnetlink.RuleMessage {
	protocol := uint8(unix.RTPROT_STATIC)
	table := uint32(rule.Table)
	message := &rtnetlink.RuleMessage{
		Family: uint8(rule.Family), Action: uint8(rule.Action),
		Attributes: &rtnetlink.RuleAttributes{
			Priority: &rule.Priority, Table: &table, Protocol: &protocol, IIFName: nonZero(rule.IIFName), OIFName: nonZero(rule.OIFName),
			FwMark: nonZero(rule.FwMark), FwMask: nonZero(rule.FwMask),
		},
	}
	message.Attributes.Src, message.SrcLength = rulePrefix(rule.Src)
	message.Attributes.Dst, message.DstLength = rulePrefix(rule.Dst)

	return message
}

func rulePrefix(prefix netip.Prefix) (*net.IP, uint8) {
	if prefix.Bits() <= 0 {
		return nil, 0
	}

	address := net.IP(prefix.Addr().AsSlice())

	return &address, uint8(prefix.Bits()) //nolint:gosec // at most 128
}

func ruleStatus(message rtnetlink.RuleMessage) networkres.RoutingRuleStatusSpec {
	attributes := message.Attributes
	status := networkres.RoutingRuleStatusSpec{
		Family: nethelpers.Family(message.Family),
		// the header has room for the first 256 tables
		Table:    nethelpers.RoutingTable(ptr.Deref(attributes.Table, uint32(message.Table))),
		Priority: ptr.Deref(attributes.Priority, 0), Action: nethelpers.RoutingRuleAction(message.Action),
		Src: prefix(ptr.Deref(attributes.Src, nil), message.SrcLength), Dst: prefix(ptr.Deref(attributes.Dst, nil), message.DstLength),
		IIFName: ptr.Deref(attributes.IIFName, ""), OIFName: ptr.Deref(attributes.OIFName, ""),
		FwMark: ptr.Deref(attributes.FwMark, 0), FwMask: ptr.Deref(attributes.FwMask, 0),
	}

	return status
}

// asStatus is how the kernel shows the rule once it has it.
func asStatus(rule networkres.RoutingRuleSpecSpec) networkres.RoutingRuleStatusSpec {
	return ruleStatus(*ruleMessage(rule))
}

func nonZero[T comparable](value T) *T {
	var zero T
	if value == zero {
		return nil
	}

	return &value
}
