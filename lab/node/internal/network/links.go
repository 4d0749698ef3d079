package network

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/jsimonetti/rtnetlink/v2"
	"github.com/siderolabs/talos/pkg/machinery/api/resource/definitions/network"
	"github.com/siderolabs/talos/pkg/machinery/cel"
	"github.com/siderolabs/talos/pkg/machinery/cel/celenv"
	"github.com/siderolabs/talos/pkg/machinery/config/config"
	"github.com/siderolabs/talos/pkg/machinery/nethelpers"
	"github.com/siderolabs/talos/pkg/machinery/proto"
	networkres "github.com/siderolabs/talos/pkg/machinery/resources/network"
)

// Alias is a name that a link is to have besides its own.
type Alias struct {
	// Name holds `%d`, for a number, where it is for several links.
	Name     string
	Selector string
	Several  bool
}

func aliases(settings config.Config) []Alias {
	var found []Alias

	for _, document := range settings.NetworkLinkAliasConfigs() {
		found = append(found, Alias{
			Name: document.Name(), Selector: document.LinkSelector().String(), Several: document.IsPatternAlias(),
		})
	}

	slices.SortFunc(found, func(a, b Alias) int { return strings.Compare(a.Name, b.Name) })

	return found
}

// LinkStatus is a link as a machine shows it that has virtio cards: what the
// lab's own links are in the kernel stays out of sight.
func LinkStatus(link rtnetlink.LinkMessage) networkres.LinkStatusSpec {
	spec := networkres.LinkStatusSpec{
		Index: link.Index, LinkIndex: link.Index, Type: nethelpers.LinkType(link.Type), MTU: link.Attributes.MTU,
		Flags: nethelpers.LinkFlags(link.Flags), HardwareAddr: nethelpers.HardwareAddr(link.Attributes.Address),
		BroadcastAddr: nethelpers.HardwareAddr(link.Attributes.Broadcast), QueueDisc: "noqueue",
		OperationalState: nethelpers.OperationalState(link.Attributes.OperationalState), LinkState: Connected(link),
	}

	if link.Attributes.Alias != nil {
		spec.Alias = *link.Attributes.Alias
	}

	if spec.Type == nethelpers.LinkEther {
		spec.PermanentAddr, spec.QueueDisc, spec.Driver = spec.HardwareAddr, "pfifo_fast", Driver
	}

	return spec
}

// applyAliases gives each card the alias that is wanted for it, or none.
func applyAliases(connection *rtnetlink.Conn, links []rtnetlink.LinkMessage, wanted []Alias) error {
	names, err := aliasNames(links, wanted)
	if err != nil {
		return err
	}

	var errs []error

	for _, link := range links {
		name := names[link.Attributes.Name]
		if nethelpers.LinkType(link.Type) != nethelpers.LinkEther || name == LinkStatus(link).Alias {
			continue
		}

		if err := connection.Link.Set(&rtnetlink.LinkMessage{
			Type: link.Type, Index: link.Index, Attributes: &rtnetlink.LinkAttributes{Alias: &name},
		}); err != nil {
			errs = append(errs, fmt.Errorf("error setting alias %q on link %q: %w", name, link.Attributes.Name, err))
		}
	}

	return errors.Join(errs...)
}

// aliasNames finds the links of the aliases, as Talos does: in the order of
// their MAC addresses, and no alias where a selector that is for one finds two.
func aliasNames(links []rtnetlink.LinkMessage, wanted []Alias) (map[string]string, error) {
	names := map[string]string{}

	cards := slices.DeleteFunc(slices.Clone(links), func(link rtnetlink.LinkMessage) bool {
		return nethelpers.LinkType(link.Type) != nethelpers.LinkEther
	})
	slices.SortFunc(cards, func(a, b rtnetlink.LinkMessage) int {
		return bytes.Compare(a.Attributes.Address, b.Attributes.Address)
	})

	for _, alias := range wanted {
		selector, err := cel.ParseBooleanExpression(alias.Selector, celenv.LinkLocator())
		if err != nil {
			return nil, fmt.Errorf("error in the link selector of alias %q: %w", alias.Name, err)
		}

		var found []string

		for _, card := range cards {
			matches, err := selects(selector, card)
			if err != nil {
				return nil, fmt.Errorf("error evaluating link selector: %w", err)
			}

			if matches {
				found = append(found, card.Attributes.Name)
			}
		}

		if len(found) > 1 && !alias.Several {
			continue
		}

		found = slices.DeleteFunc(found, func(link string) bool { return names[link] != "" })

		for number, link := range found {
			names[link] = strings.Replace(alias.Name, "%d", strconv.Itoa(number), 1)
		}
	}

	return names, nil
}

func selects(selector cel.Expression, link rtnetlink.LinkMessage) (bool, error) {
	status := networkres.NewLinkStatus(networkres.NamespaceName, link.Attributes.Name)
	*status.TypedSpec() = LinkStatus(link)

	var spec network.LinkStatusSpec
	if err := proto.ResourceSpecToProto(status, &spec); err != nil {
		return false, err
	}

	return selector.EvalBool(celenv.LinkLocator(), map[string]any{"link": &spec})
}
