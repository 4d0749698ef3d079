package network_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/siderolabs/talos/pkg/machinery/config/configloader"
	"github.com/siderolabs/talos/pkg/machinery/nethelpers"

	"cluster-stack/lab/node/internal/hardware"
	"cluster-stack/lab/node/internal/network"
)

// routing resolves the network of a machine without cards.
func routing(t *testing.T, documents ...string) network.Network {
	t.Helper()

	text := "machine: {}"
	for _, document := range documents {
		text += "\n---\n{apiVersion: v1alpha1, " + document + "}"
	}

	settings, err := configloader.NewFromBytes([]byte(text))
	if err != nil {
		t.Fatal(err)
	}

	return network.Resolve(&hardware.Machine{}, "metal", settings, nil)
}

// packets is what the kernel does with packets beyond the routes of the links.
func packets(t *testing.T) []string {
	t.Helper()

	state, err := network.Read()
	if err != nil {
		t.Fatal(err)
	}

	var found []string

	for _, route := range state.Routes {
		if route.Type == nethelpers.TypeBlackhole {
			found = append(found, fmt.Sprintf("%s %s", route.Destination, network.StatusID(route)))
		}
	}

	for _, rule := range state.Rules {
		// the kernel's own rules are 0, 32766 and 32767
		if rule.Priority != 0 && rule.Priority < 32766 {
			found = append(found, fmt.Sprintf("%s %d: %s to %s, mark %x/%x, %s %d",
				rule.Family, rule.Priority, rule.Src, rule.Dst, rule.FwMark, rule.FwMask, rule.Action, rule.Table))
		}
	}

	slices.Sort(found)

	return found
}

func TestBlackholesAndRulesFollowTheConfiguration(t *testing.T) {
	if !isolated(t) {
		return
	}

	ip(t, "link set lo up")
	ip(t, "rule add priority 77 from 10.1.0.0/16 table 7")

	const others = "inet4 77: 10.1.0.0/16 to invalid Prefix, mark 0/0, unicast 7"

	setup := network.NewSetup()

	for _, step := range []struct {
		documents []string
		expected  []string
	}{
		{
			[]string{
				"kind: BlackholeRouteConfig, name: 'fd13:1236::/64'", "kind: BlackholeRouteConfig, name: 10.66.0.0/16, metric: 5",
				"kind: RoutingRuleConfig, name: '1000', src: 10.99.0.0/16, table: 250",
				"kind: RoutingRuleConfig, name: '2000', dst: 'fd99::/48', table: 100, action: blackhole",
			},
			[]string{
				"10.66.0.0/16 inet4//10.66.0.0/16/5", "fd13:1236::/64 lo/inet6//fd13:1236::/64/1024",
				"inet4 1000: 10.99.0.0/16 to invalid Prefix, mark 0/0, unicast 250", others,
				"inet6 2000: invalid Prefix to fd99::/48, mark 0/0, blackhole 100",
			},
		},
		{
			[]string{"kind: RoutingRuleConfig, name: '1000', fwMark: 256, fwMask: 65280, table: 100"},
			[]string{
				"inet4 1000: invalid Prefix to invalid Prefix, mark 100/ff00, unicast 100", others,
				"inet6 1000: invalid Prefix to invalid Prefix, mark 100/ff00, unicast 100",
			},
		},
		{nil, []string{others}},
	} {
		// the second time finds everything in place
		for range 2 {
			if err := setup.Apply(routing(t, step.documents...)); err != nil {
				t.Fatal(err)
			}
		}

		if found := packets(t); !slices.Equal(found, step.expected) {
			t.Fatalf("wanted\n%s\nthere is\n%s", strings.Join(step.expected, "\n"), strings.Join(found, "\n"))
		}
	}
}
